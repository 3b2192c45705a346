"""Traces survive a round trip exactly, replay to their canvas, and hostile ones are refused in one line."""

import dataclasses
import json
import math
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nap.common.files import InputError
from nap.common.parquet import read_parquet
from nap.data.problems import Problem
from nap.data.samples import Path, Sample, concatenated
from nap.data.trace import COMMIT, EDIT, FILL, HEADER, PROMPT, REMASK, TRACE_VERSION, Event, Trace, check_trace
from nap.data.trace_files import read_traces, trace_from_row, trace_to_row, write_traces

MASK = 0
NAN = math.nan

TRACE = Trace(
    problem_id="p1",
    initial=(5, 6, MASK, MASK, MASK),
    region=(PROMPT, HEADER, 0, 0, 1),
    events=(
        Event(0, COMMIT, 2, 7, 0.5),
        Event(0, COMMIT, 4, 8, 0.25),
        Event(1, EDIT, 2, 9, NAN),
        Event(1, REMASK, 4, MASK, NAN),
        Event(2, COMMIT, 4, 3, 1.0),
        Event(2, FILL, 3, 1, NAN),
    ),
    forwards=3,
    mask_id=MASK,
    seconds=(0.5, 0.25, 0.125),
    uncounted=(1,),
    vocabulary={7: "seven", 1: "<pad>"},
    setting={"seed": 1},
    answer="3",
    correct=True,
)

texts = st.text(max_size=8)
numbers = st.integers(0, 2**31 - 1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def traces(draw):
    """Any trace that is consistent: what an event does follows from whether its position is masked by then."""
    length = draw(st.integers(0, 6))
    mask_id = draw(numbers)
    tokens = numbers.filter(lambda token: token != mask_id)
    initial = draw(st.lists(st.just(mask_id) | numbers, min_size=length, max_size=length))
    ids, events, step = list(initial), [], 0
    for position in draw(st.lists(st.integers(0, length - 1), max_size=8)) if length else []:
        step += draw(st.integers(0, 2))
        kind = draw(st.sampled_from([COMMIT, FILL] if ids[position] == mask_id else [REMASK, EDIT]))
        ids[position] = mask_id if kind == REMASK else draw(tokens)
        events.append(Event(step, kind, position, ids[position], draw(st.just(NAN) | st.floats(0, 1))))
    return Trace(
        problem_id=draw(texts),
        initial=tuple(initial),
        region=tuple(draw(st.lists(st.integers(-3, length - 1), min_size=length, max_size=length))),
        events=tuple(events),
        forwards=draw(numbers),
        mask_id=mask_id,
        seconds=tuple(draw(st.lists(st.floats(0, 1e9), max_size=3))),
        uncounted=tuple(draw(st.lists(numbers, max_size=2))),
        vocabulary=draw(st.dictionaries(numbers, texts, max_size=3)),
        setting=draw(st.dictionaries(texts, st.integers() | texts | st.lists(texts, max_size=2), max_size=3)),
        answer=draw(st.none() | texts),
        correct=draw(st.none() | st.booleans()),
    )


def comparable(trace):
    """The trace as text: nan is not equal to itself."""
    return repr(trace)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written=st.lists(traces(), max_size=3))
def test_traces_survive_a_round_trip(tmp_path, suffix, written):
    path = tmp_path / f"traces.{suffix}"
    write_traces(written, path)
    assert list(map(comparable, read_traces(path))) == list(map(comparable, written))


def test_written_jsonl_is_json_that_any_reader_takes(tmp_path):
    write_traces([TRACE], tmp_path / "t.jsonl")

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    row = json.loads((tmp_path / "t.jsonl").read_text(encoding="utf-8"), parse_constant=refuse)
    assert row["events"][3] == [1, REMASK, 4, MASK, None]
    assert row["version"] == TRACE_VERSION


def test_canvas_at_replays_the_events_step_by_step():
    assert [TRACE.canvas_at(step) for step in range(4)] == [
        [5, 6, MASK, MASK, MASK],
        [5, 6, 7, MASK, 8],
        [5, 6, 9, MASK, MASK],
        [5, 6, 9, 1, 3],
    ]
    assert TRACE.final == TRACE.canvas_at(3) == TRACE.canvas_at(99)
    assert TRACE.steps == 3 and TRACE.paths == 1


def test_a_trace_without_events_is_its_initial_canvas():
    still = dataclasses.replace(TRACE, events=())
    assert still.steps == 0 and still.final == list(TRACE.initial)


@pytest.mark.parametrize(
    ("region", "paths"), [((PROMPT, 0, 0), 1), ((PROMPT, 0, 1), 1), ((HEADER, 0, 1, 2), 2), ((), 1)]
)
def test_paths_counts_the_slots_that_are_not_the_summary(region, paths):
    assert dataclasses.replace(TRACE, region=region).paths == paths


def changed(**fields):
    return trace_to_row(TRACE) | fields


def events(*events):
    return changed(events=[list(event) for event in events])


HOSTILE = {
    "position behind the end": (events((0, COMMIT, 5, 7, 0.5)), "position 5 is outside its canvas of 5"),
    "negative position": (events((0, COMMIT, -1, 7, 0.5)), "position -1 is outside"),
    "unknown kind": (events((0, 4, 2, 7, 0.5)), "kinds be 0 to 3"),
    "falling steps": (events((1, COMMIT, 2, 7, 0.5), (0, COMMIT, 3, 7, 0.5)), "steps must rise"),
    "negative step": (events((-1, COMMIT, 2, 7, 0.5)), "below 0"),
    "huge step": (events((2**40, COMMIT, 2, 7, 0.5)), "above"),
    "huge token": (events((0, COMMIT, 2, 2**40, 0.5)), "above"),
    "huge forwards": (changed(forwards=2**40), "above"),
    "negative mask": (changed(mask_id=-1), "below 0"),
    "negative initial token": (changed(initial=[-5, 6, 0, 0, 0]), "below 0"),
    "commit of what is not masked": (events((0, COMMIT, 0, 7, 0.5)), "step 0: position 0 is not masked"),
    "commit twice": (events((0, COMMIT, 2, 7, 0.5), (3, COMMIT, 2, 7, 0.5)), "step 3: position 2 is not masked"),
    "fill of what is not masked": (events((0, FILL, 0, 1, None)), "not masked"),
    "remask of what is masked": (events((0, REMASK, 2, 0, None)), "position 2 is masked"),
    "edit of what is masked": (events((0, EDIT, 2, 7, None)), "position 2 is masked"),
    "commit of the mask": (events((0, COMMIT, 2, MASK, 0.5)), "mask is no token"),
    "probability above one": (events((0, COMMIT, 2, 7, 1.5)), "probability 1.5"),
    "infinite probability": (events((0, COMMIT, 2, 7, math.inf)), "probability inf"),
    "negative probability": (events((0, COMMIT, 2, 7, -0.1)), "probability -0.1"),
    "infinite seconds": (changed(seconds=[math.inf]), "seconds"),
    "nan seconds": (changed(seconds=[NAN]), "seconds"),
    "negative seconds": (changed(seconds=[-1.0]), "seconds"),
    "region of another length": (changed(region=[0, 0]), "has 5 tokens but 2 regions"),
    "region that cannot be": (changed(region=[0, 0, 0, 0, 5]), "region code"),
    "region below all codes": (changed(region=[0, 0, 0, 0, -4]), "region code"),
    "another version": (changed(version=3), "trace version 3 is none of 1 and 2"),
    "a negative cost": (changed(costs=[[1, -2, 0]]), "a cost is below 0"),
    "costs that do not add up": (changed(costs=[[5, 2, 0]]), "costs do not add up"),
}  # fmt: skip

HOSTILE_JSON = {
    "no version": ({k: v for k, v in changed().items() if k != "version"}, "it has no version"),
    "a later version with a later field": (changed(version=3, attention=[]), "version 3"),
    "foreign field": (changed(colour="red"), "unknown trace field 'colour'; known: "),
    "lacking field": ({k: v for k, v in changed().items() if k != "mask_id"}, "lacks 'mask_id'"),
    "lacking name": ({k: v for k, v in changed().items() if k != "problem_id"}, "problem_id"),
    "short event": (changed(events=[[0, 0, 2]]), "not a trace"),
    "event that is a number": (changed(events=[3]), "not a trace"),
    "events that are nothing": (changed(events=None), "not a trace"),
    "event in words": (events(("zero", COMMIT, 2, 7, 0.5)), "not a trace"),
    "step that is no integer": (events((0.5, COMMIT, 2, 7, 0.5)), "not a trace"),
    "infinite step": (events((math.inf, COMMIT, 2, 7, 0.5)), "not a trace"),
    "probability in words": (events((0, COMMIT, 2, 7, "high")), "not a trace"),
    "probability of 400 digits": (events((0, COMMIT, 2, 7, 10**400)), "not a trace"),
    "initial in words": (changed(initial="hello"), "not a trace"),
    "mask in words": (changed(mask_id="zero"), "not a trace"),
    "vocabulary that is a list": (changed(vocabulary=["a"]), "not a trace"),
    "vocabulary of words": (changed(vocabulary={"a": "b"}), "not a trace"),
    "setting that is a list": (changed(setting=[1]), "setting cannot be [1]"),
    "name that is a number": (changed(problem_id=3), "problem_id cannot be 3"),
    "correct in words": (changed(correct="yes"), "correct cannot be 'yes'"),
}


def refusal(path):
    with pytest.raises(InputError) as caught:
        list(read_traces(path))
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


@pytest.mark.parametrize(("row", "said"), (HOSTILE | HOSTILE_JSON).values(), ids=(HOSTILE | HOSTILE_JSON).keys())
def test_a_hostile_jsonl_trace_is_refused_by_file_and_row(tmp_path, row, said):
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(map(json.dumps, (trace_to_row(TRACE), row))))
    message = refusal(path)
    assert message.startswith((f"{path}:2: ", f"{path}, row 2: ")) and said in message


def write_parquet_rows(rows, path):
    """As write_traces, without types that would refuse a hostile row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [row | {name: json.dumps(row[name]) for name in ("vocabulary", "setting")} for row in rows]
    for row in rows:
        row["events"] = [dict(zip(Event._fields, event, strict=True)) for event in row["events"]]
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.mark.parametrize(("row", "said"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_parquet_trace_is_refused_by_file_and_row(tmp_path, row, said):
    path = tmp_path / "t.parquet"
    write_parquet_rows([trace_to_row(TRACE), row], path)
    message = refusal(path)
    assert message.startswith((f"{path}:2: ", f"{path}, row 2: ")) and said in message


@settings(max_examples=200)
@given(st.sampled_from(dataclasses.fields(Trace)), json_values)
def test_any_value_in_any_field_reads_or_is_an_input_error(field, value):
    try:
        trace = trace_from_row(changed(**{field.name: value}))
    except InputError as error:
        assert "\n" not in str(error)
    else:
        check_trace(trace)


@pytest.mark.parametrize("kept", [0, 1, 4, 100, 0.6, -1])
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_file_that_was_cut_is_refused_or_holds_only_whole_rows(tmp_path, suffix, kept):
    path = tmp_path / f"t.{suffix}"
    write_traces([TRACE, TRACE], path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept) if isinstance(kept, float) else kept])
    # What is left of a JSONL without its last newline is whole, and one of no bytes holds no rows.
    if suffix == "jsonl" and kept in (0, -1):
        assert list(map(comparable, read_traces(path))) == [comparable(TRACE)] * (-2 * kept)
    else:
        refusal(path)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_file_with_broken_bytes_reads_or_is_refused(tmp_path, suffix):
    path = tmp_path / f"t.{suffix}"
    write_traces([TRACE, TRACE], path)
    whole = path.read_bytes()
    random = Random(0)
    refused = 0
    for _ in range(400):
        broken = bytearray(whole)
        broken[random.randrange(len(whole))] = random.randrange(256)
        path.write_bytes(broken)
        try:
            list(read_traces(path))
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("name", ["absent.jsonl", "absent.parquet"])
def test_an_absent_trace_file_is_named(tmp_path, name):
    assert "no such file" in refusal(tmp_path / name)


def test_a_parquet_of_something_else_is_refused_by_row(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"question": ["why"]}), tmp_path / "t.parquet")
    assert refusal(tmp_path / "t.parquet").startswith(f"{tmp_path / 't.parquet'}, row 1: not a trace: ")


def test_a_folder_is_not_read_as_one_parquet_file(tmp_path):
    (tmp_path / "t.parquet").mkdir()
    write_traces([TRACE], tmp_path / "t.parquet" / "part.parquet")
    with pytest.raises(InputError, match=r"is a folder; a file was expected; it holds part.parquet"):
        read_parquet(tmp_path / "t.parquet")


def test_the_long_chain_form_holds_the_same_trajectories_as_one_path():
    problem = Problem(id="p", prompt="?", answer="3")
    sample = Sample(
        problem=problem, paths=(Path(text=" 1 + 2 ", answer="3", correct=True), Path(text="3")), summary="3"
    )
    chain = concatenated(sample)
    assert chain.problem == problem and chain.summary == "3"
    assert chain.paths == (Path(text="1 + 2 ; 3"),)
