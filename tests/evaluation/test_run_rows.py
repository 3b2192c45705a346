"""The stored form of a run does not move, and no row can be made that a run could not write."""

import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from nap.common.files import InputError
from nap.common.records import checked
from nap.evaluation.record_files import as_row, read_record, write_summary
from nap.evaluation.rows import Entry, Row, write_rows
from nap.evaluation.run import run_sweep
from nap.evaluation.summary import summarise
from nap.evaluation.sweep import Sweep
from samples import chain, row
from tiny import QUESTION

TIES = (
    "ties_within", "tau_b_leftmost", "tau_b_rightmost", "tau_b_blind",
    *(f"{part}global_arness@1_{end}" for part in ("", "path_") for end in ("leftmost", "rightmost", "blind")),
)  # fmt: skip
# `queries` and `guide_calls` since traces have costs, `cache` and `tokens` since a run has several caches, TIES since
# its traces may keep runners-up, the others as every version since the first has written them. A change here makes old
# and new runs differ in their bytes.
ROWS = {
    "cell": "string", "model": "string", "policy": "string", "pace": "string", "task": "string",
    "problem_id": "string", "index": "int64", "correct": "bool", "answer": "string", "text": "string",
    "paths": "list<element: string>", "closed": "int64", "equations_right": "double", "critical_path": "int64",
    "cache": "string", "tokens": "list<element: int64>",
    "n_tokens": "int64", "n_uncounted": "int64", "n_steps": "int64", "forwards": "int64", "tpf": "double",
    "afp": "double", "tau_b": "double", "tied_share": "double", "global_arness@1": "double",
    "global_arness@1_optimistic": "double", "global_arness@1_pessimistic": "double",
    "global_arness@1_random": "double", "local_arness@1": "double", "path_global_arness@1": "double",
    "path_global_arness@1_random": "double", "path_local_arness@1": "double", "path_tau_b": "double",
    "queries": "int64", "guide_calls": "int64",
    **dict.fromkeys(TIES, "double"),
}  # fmt: skip
MEANS = (
    "tpf", "global_arness@1", "path_global_arness@1", "afp", "tau_b", "equations_right", "forwards", "local_arness@1",
    "path_local_arness@1", "path_tau_b", "tied_share", "n_tokens", "global_arness@1_random",
    "path_global_arness@1_random", "global_arness@1_optimistic", "global_arness@1_pessimistic", "queries",
    "guide_calls",
)  # fmt: skip
SUMMARY = [
    "model", "policy", "pace", "task", "cell", "problems", "right", "accuracy", "accuracy_interval",
    *(f"{name}{part}" for name in MEANS for part in ("", "_interval")),
    *(f"{name}_{answer}" for answer in ("right", "wrong")
      for name in ("global_arness@1", "path_global_arness@1", "afp", "tau_b")),
    "parallel_efficiency", "label", "seconds", "baseline", "gain", "p_value", "p_holm", "aup",
    "cache", "curve", "changed", "changed_interval",
    *(f"without_cache_{name}" for name in ("baseline", "gain", "p_value", "p_holm")),
    *(f"{name}{part}" for name in TIES for part in ("", "_interval")),
]  # fmt: skip

FULL = Row(
    cell="m | ar | 1/step", model="m", policy="ar", pace="1/step", task="t", problem_id="p", index=0, correct=True,
    answer="8", text="8", paths=("2 + 6",), closed=1, equations_right=1.0, critical_path=2,
    cache="none", tokens=(5, 7, -1), n_tokens=4, n_uncounted=1,
    n_steps=5, forwards=5, tpf=0.8, afp=1.0, tau_b=1.0, tied_share=0.0, global_arness_at_1=1.0,
    global_arness_at_1_optimistic=1.0, global_arness_at_1_pessimistic=1.0, global_arness_at_1_random=0.5,
    local_arness_at_1=0.75, path_global_arness_at_1=1.0, path_global_arness_at_1_random=0.5,
    path_local_arness_at_1=0.75, path_tau_b=1.0, queries=65, guide_calls=0, ties_within=0.01, tau_b_leftmost=1.0,
    tau_b_rightmost=0.5, tau_b_blind=0.0, global_arness_at_1_leftmost=1.0, global_arness_at_1_rightmost=0.5,
    global_arness_at_1_blind=0.25, path_global_arness_at_1_leftmost=1.0, path_global_arness_at_1_rightmost=0.5,
    path_global_arness_at_1_blind=0.25,
)  # fmt: skip


def test_the_columns_and_types_of_rows_are_the_known_ones(tmp_path):
    write_rows([FULL], tmp_path / "rows.parquet")
    schema = pq.read_schema(tmp_path / "rows.parquet")
    assert {name: str(kind) for name, kind in zip(schema.names, schema.types, strict=True)} == ROWS
    assert schema.names == list(ROWS)


def test_a_column_without_a_value_has_no_type_as_it_always_had_none(tmp_path):
    write_rows([replace(FULL, critical_path=None, answer=None)], tmp_path / "rows.parquet")
    schema = pq.read_schema(tmp_path / "rows.parquet")
    assert [str(schema.field(name).type) for name in ("critical_path", "answer", "tpf")] == ["null", "null", "double"]


def test_a_run_writes_a_journal_of_the_same_columns(tiny, tmp_path):
    run_sweep(
        Sweep(task="arith", models=(str(tiny),), policies=("ar",), tokens_per_step=(9,), problems=2), tmp_path / "run"
    )
    entries = [json.loads(line)["entry"] for line in (tmp_path / "run/journal.jsonl").read_text().splitlines()]
    assert len(entries) == 2
    for entry in entries:
        assert list(entry) == ["row", "seconds", "trace", "made_of"] and list(entry["row"]) == list(ROWS)


def test_an_entry_that_no_row_can_hold_is_done_again(tiny, tmp_path):
    """As an earlier version may have left it: without a digest, with a value that kills the run at its end."""
    sweep = Sweep(task="arith", models=(str(tiny),), policies=("ar",), tokens_per_step=(9,), problems=2)
    rows = run_sweep(sweep, tmp_path / "run")
    first, second = (json.loads(line)["entry"] for line in (tmp_path / "run/journal.jsonl").read_text().splitlines())
    second["row"]["critical_path"] = 10**30
    (tmp_path / "run/journal.jsonl").write_text("".join(f"{json.dumps(entry)}\n" for entry in (first, second)))
    fresh = []
    assert run_sweep(sweep, tmp_path / "run", report=lambda now: fresh.append(now.batch)) == rows
    assert fresh == [1]


def test_the_keys_of_a_summary_are_the_known_ones(tmp_path):
    records = summarise([row("m", policy, "own", "p", True) for policy in ("low_confidence", "ar")])
    write_summary(records, tmp_path)
    stored = json.loads((tmp_path / "summary.json").read_text())
    assert [list(record) for record in stored] == [SUMMARY] * 2
    assert [read_record(record) for record in stored] == records
    head = (tmp_path / "summary.csv").read_text().splitlines()[0].split(",")
    assert len(head) == len(SUMMARY) + len(MEANS) + len(TIES) + 2, "an interval is two columns"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"accuracy": "x"}, "accuracy must be a finite number"),
        ({"tpf": float("nan")}, "tpf must be a finite number"),
        ({"tpf_interval": [1]}, "tpf must be an interval"),
        ({"accuracy_interval": None}, "must be an interval"),
        ({"gain": None}, "comparison"),
        ({"problems": 2.5}, "problems must be a whole number"),
    ],
)
def test_a_summary_that_holds_something_else_is_refused(changes, said):
    records = summarise([row("m", policy, "own", "p", True) for policy in ("low_confidence", "ar")])
    with pytest.raises(InputError, match=said):
        read_record(as_row(records[1]) | changes)


@pytest.mark.parametrize("odd", ["x", [3], {"a": 1}, True, 3.5, 1e30, 10**30, -1])
def test_a_problem_that_no_row_can_hold_stops_a_sweep_before_it_decodes(tiny, tmp_path, odd):
    problems = [{"prompt": QUESTION, "answer": 8, "id": f"p{i}"} for i in range(3)]
    problems[1]["critical_path"], problems[2]["critical_path"] = odd, 2
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, problems)))
    known = {"task": "jsonl", "data": str(tmp_path / "data.jsonl"), "models": (str(tiny),), "policies": ("ar",)}
    with pytest.raises(InputError, match=r"problem 'p1': critical_path must be a whole number from 0 to \d+, got"):
        run_sweep(Sweep(**known, tokens_per_step=(9,)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_names_that_no_file_of_rows_can_hold_stop_a_sweep_before_it_decodes(tiny, tmp_path):
    (tmp_path / "data.jsonl").write_text(json.dumps({"prompt": QUESTION, "answer": 8, "id": "\ud800"}))
    known = {"task": "jsonl", "data": str(tmp_path / "data.jsonl"), "policies": ("ar",), "tokens_per_step": (9,)}
    with pytest.raises(InputError, match="a problem's id is not valid text"):
        run_sweep(Sweep(**known, models=(str(tiny),)), tmp_path / "run")
    with pytest.raises(InputError, match="one of the models is not valid text"):
        Sweep(**known, models=("caf\udce9",))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes", [{"critical_path": "x"}, {"correct": None}, {"tpf": float("inf")}, {"index": 2**70}, {"text": b"x"}]
)
def test_a_row_is_checked_where_it_is_made_and_where_a_journal_is_read(changes):
    with pytest.raises(InputError, match=next(iter(changes))):
        checked(replace(FULL, **changes))
    entry = Entry(row=FULL, seconds=0.5, trace=chain())
    assert Entry.read(json.loads(json.dumps(entry.json()))) == entry
    if changes != {"text": b"x"}:
        with pytest.raises(InputError):
            Entry.read(entry.json() | {"row": entry.json()["row"] | changes})
