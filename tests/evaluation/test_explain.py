"""What a model says of tokens committed together, against joint distributions whose every number is known."""

import itertools
import json
import math
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from nap.canvas.canvas import CanvasSpec, layout
from nap.common.files import InputError
from nap.data.trace import COMMIT, Event, Trace
from nap.data.trace_files import read_traces, write_traces
from nap.decoding.decode import decode_traces
from nap.decoding.policies.registry import parse_policy
from nap.evaluation.explain import Effort, explain
from nap.evaluation.explained import read_explained
from nap.models.load import load
from tiny import nap
from toys import MASK, ToyDenoiser, UniformDenoiser

# Tokens that have any probability: the mask is 0.
FIRST, VOCABULARY = 1, 4


class Law(ToyDenoiser):
    """Answers with the exact conditionals of a joint distribution over its positions, given all that is written."""

    def __init__(self, joint):
        super().__init__(vocabulary=VOCABULARY)
        self.joint = np.asarray(joint, np.float64) / np.sum(joint)

    def scores(self, ids_BL, layout, rows_N, positions_N):
        lines = []
        for row, position in zip(rows_N, positions_N, strict=True):
            fixed = [
                slice(None) if token == MASK or axis == position else token - FIRST
                for axis, token in enumerate(ids_BL[row])
            ]
            table = self.joint[tuple(fixed)]
            free = [axis for axis, at in enumerate(fixed) if isinstance(at, slice)]
            others = tuple(n for n, axis in enumerate(free) if axis != position)
            chance = np.zeros(VOCABULARY)
            chance[FIRST:] = table.sum(axis=others)
            lines.append(np.log(np.maximum(chance, 1e-30)))
        return np.array(lines)


def trace_of(tokens, *steps):
    """A trace of one slot that commits positions step by step."""
    spec = {"paths": 1, "path_tokens": len(tokens), "summary_tokens": 0, "tags": "none"}
    events = tuple(Event(n, COMMIT, at, tokens[at], math.nan) for n, step in enumerate(steps) for at in step)
    return Trace(
        problem_id="p", initial=(MASK,) * len(tokens), region=(0,) * len(tokens), events=events, forwards=len(steps),
        mask_id=MASK, setting={"canvas": spec, "model": {"model": "Law"}},
    )  # fmt: skip


def entropy(joint):
    joint = np.asarray(joint).ravel()
    return -(joint[joint > 0] * np.log(joint[joint > 0])).sum()


def total_correlation(joint):
    axes = range(joint.ndim)
    return sum(entropy(joint.sum(axis=tuple(b for b in axes if b != a))) for a in axes) - entropy(joint)


joints = st.integers(2, 3).flatmap(
    lambda count: (
        st.lists(st.integers(0, 5), min_size=3**count, max_size=3**count)
        .filter(any)
        .map(lambda flat: np.array(flat, float).reshape((3,) * count))
    )
)


@settings(max_examples=40)
@given(joints, st.randoms(use_true_random=False))
def test_the_correlation_of_a_step_is_that_of_the_joint_distribution(joint, random):
    law = Law(joint)
    order = random.sample(range(joint.ndim), joint.ndim)
    (step,) = explain(law, trace_of([FIRST] * joint.ndim, order)).steps
    assert step.exact and step.error == 0 and step.positions == tuple(order)
    assert step.correlation == pytest.approx(total_correlation(law.joint), abs=1e-4)


@settings(max_examples=40)
@given(joints, st.randoms(use_true_random=False))
def test_the_violation_of_a_step_is_the_product_against_the_joint_probability(joint, random):
    law = Law(joint + 0.1)
    tokens = [random.randrange(3) + FIRST for _ in range(joint.ndim)]
    order = random.sample(range(joint.ndim), joint.ndim)
    (step,) = explain(law, trace_of(tokens, order)).steps
    alone = [law.joint.sum(axis=tuple(b for b in range(joint.ndim) if b != a)) for a in range(joint.ndim)]
    product = sum(math.log(alone[a][tokens[a] - FIRST]) for a in range(joint.ndim))
    together = math.log(law.joint[tuple(token - FIRST for token in tokens)])
    assert step.violation[0] == 0
    assert sum(step.violation) == pytest.approx(product - together, abs=1e-4)


COPY = np.eye(3) / 3


def test_two_positions_of_which_one_repeats_the_other_by_hand():
    law = Law(COPY * 0.97 + 0.03 / 9)
    (same,) = explain(law, trace_of([1, 1], [0, 1])).steps
    (other,) = explain(law, trace_of([1, 2], [1, 0])).steps
    # Alone each has a third; after the other it is .98 for the same and .01 for another.
    assert same.violation == pytest.approx((0, math.log(1 / 3) - math.log(0.98)), abs=1e-6)
    assert other.violation == pytest.approx((0, math.log(1 / 3) - math.log(0.01)), abs=1e-6)
    assert same.correlation == other.correlation == pytest.approx(math.log(3) - entropy([0.98, 0.01, 0.01]), abs=1e-6)


def test_one_token_a_step_violates_nothing_and_what_is_written_before_a_step_counts():
    law = Law(COPY)
    assert explain(law, trace_of([1, 1], [0], [1])).steps == ()
    three = np.zeros((3, 3, 3))
    for a, b in itertools.product(range(3), range(3)):
        three[a, b, (a + b) % 3] = 1
    # Any two are independent until the third is known.
    (alone,) = explain(Law(three), trace_of([1, 1, 1], [0, 1], [2])).steps
    (given_one,) = explain(Law(three), trace_of([1, 1, 1], [2], [0, 1])).steps
    assert alone.correlation == pytest.approx(0, abs=1e-6)
    assert given_one.correlation == pytest.approx(math.log(3), abs=1e-6) and given_one.step == 1


def test_what_is_drawn_agrees_with_what_is_enumerated():
    rng = np.random.default_rng(3)
    law, trace = Law(rng.random((3, 3, 3)) ** 4), trace_of([1, 2, 3], [0, 1, 2])
    (exact,) = explain(law, trace).steps
    (drawn,) = explain(law, trace, Effort(samples=4000, enumerate=0)).steps
    assert not drawn.exact and drawn.error is not None and 0 < drawn.error < 0.02
    assert drawn.correlation is not None and exact.correlation is not None
    assert abs(drawn.correlation - exact.correlation) < 4 * drawn.error
    (again,) = explain(law, trace, Effort(samples=4000, enumerate=0)).steps
    assert again == drawn, "a seed says what is drawn"
    (without,) = explain(law, trace, Effort(samples=0, enumerate=0)).steps
    assert without.correlation is None and without.violation == exact.violation


def test_a_model_that_knows_nothing_correlates_nothing():
    found = explain(UniformDenoiser(vocabulary=VOCABULARY), trace_of([1, 2, 3, 1], [0, 3], [2, 1]))
    assert found.violation == pytest.approx(0, abs=1e-6) and found.correlation == pytest.approx(0, abs=1e-6)
    assert len(found.steps) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mask_id": 3, "initial": (3, 3)}, "is of another model than Law: its mask is 3"),
        ({"setting": {}}, "does not say its canvas"),
        ({"setting": {"canvas": {"pathes": 3}}}, "does not say its canvas"),
        ({"events": (Event(0, COMMIT, 0, 99, 0.5), Event(0, COMMIT, 1, 1, 0.5))}, "its highest token 99"),
    ],
)
def test_a_trace_that_the_model_cannot_have_made_is_refused_in_one_line(change, said):
    import dataclasses

    with pytest.raises(InputError, match=said):
        explain(Law(COPY), dataclasses.replace(trace_of([1, 1], [0, 1]), **change))


def test_a_guided_trace_is_refused():
    import dataclasses

    trace = trace_of([1, 1], [0, 1])
    guided = dataclasses.replace(trace, setting=trace.setting | {"sampling": {"guidance": 1.5}})
    with pytest.raises(InputError, match="was guided"):
        explain(Law(COPY), guided)


@pytest.mark.parametrize("told", [{"samples": 1}, {"samples": -1}, {"enumerate": -1}])
def test_effort_out_of_range_names_its_range(told):
    with pytest.raises(InputError, match="samples must be 0 or at least 2"):
        Effort(**told)


@pytest.fixture
def traced(tiny, tmp_path):
    denoiser = load(str(tiny))
    spec = CanvasSpec(paths=1, path_tokens=6, summary_tokens=0, tags="none")
    canvases = [layout([5, 6], spec, None, denoiser.mask_id, problem_id=f"p{n}") for n in range(2)]
    write_traces(decode_traces(denoiser, canvases, parse_policy("threshold:tau=0")), tmp_path / "t.jsonl")
    return tmp_path / "t.jsonl"


def test_the_command_prints_a_line_a_trace_and_a_line_a_step_and_writes_json(traced, tmp_path):
    told = ("trace", "explain", traced, "--samples", 2, "--out", tmp_path / "why.jsonl")
    process = nap(*told)
    assert process.returncode == 0, process.stderr
    assert [line.split()[0] for line in process.stdout.splitlines()] == ["trace", "p0", "p1"]
    first, _ = map(json.loads, (tmp_path / "why.jsonl").read_text().splitlines())
    (step,) = first["steps"]
    assert len(step["positions"]) == 6 and step["violation"][0] == 0 and step["error"] > 0
    read, traces = [*read_explained(tmp_path / "why.jsonl")], [*read_traces(traced)]
    assert [one.of(trace) for one in read for trace in traces] == [True, False, False, True]
    assert read[0].steps[0].violation == tuple(step["violation"])
    process = nap("trace", "explain", traced, "--index", 1, "--samples", 0)
    header, line = process.stdout.splitlines()
    assert "most violated" in header and line.split()[:2] == ["1", "6"]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (("--index", "5"), "has no trace number 5"), (("--out", "why.txt"), "written as .jsonl"),
        (("--samples", "1"), "samples must be 0"), (("--limit", "0"), "limit must be at least 1"),
    ],
)  # fmt: skip
def test_the_command_names_what_is_wrong_in_one_line(traced, told, said):
    process = nap("trace", "explain", traced, *told)
    assert process.returncode == 2 and said in process.stderr and process.stderr.count("\n") == 1


def test_each_trace_of_a_file_is_explained_by_the_model_that_made_it(tiny, tmp_path):
    other, spec = tmp_path / "other", CanvasSpec(paths=1, path_tokens=6, summary_tokens=0, tags="none")
    shutil.copytree(tiny, other)
    weights = load_file(other / "model.safetensors")
    save_file({name: tensor.flip(0) for name, tensor in weights.items()}, other / "model.safetensors", {"format": "pt"})
    models, policy = [load(str(tiny)), load(str(other))], parse_policy("threshold:tau=0")
    canvas = layout([5, 6], spec, None, models[0].mask_id, problem_id="p0")
    traces = [decode_traces(model, [canvas], policy)[0] for model in models]
    write_traces(traces, tmp_path / "both.jsonl")
    process = nap("trace", "explain", tmp_path / "both.jsonl", "--samples", 0, "--out", tmp_path / "why.jsonl")
    assert process.returncode == 0, process.stderr
    told = [one.violation for one in read_explained(tmp_path / "why.jsonl")]
    right = [explain(model, trace, Effort(samples=0)) for model, trace in zip(models, traces, strict=True)]
    assert told == [one.violation for one in right] and told[0] != told[1]
    with pytest.raises(InputError, match=r"trace 'p0' was not made by .* as it is opened now: 6 of 6 probabilities"):
        explain(models[0], traces[1], Effort(samples=0))
    process = nap("trace", "explain", tmp_path / "both.jsonl", "--model", other)
    assert process.returncode == 2 and "has traces of several models" in process.stderr


GOOD = {"step": 0, "positions": [4, 5], "violation": [0, 1.5], "correlation": None, "error": None, "exact": False}
LINE = {"cell": "toy | ar | 1/step", "problem_id": "p0", "correct": True, "steps": [GOOD]}


@pytest.mark.parametrize(
    "line",
    [
        [], {}, LINE | {"steps": {}}, LINE | {"cell": 3}, LINE | {"correct": "yes"}, LINE | {"steps": [3]},
        LINE | {"steps": [GOOD | {"violation": [0]}]}, LINE | {"steps": [GOOD | {"violation": [0, "1"]}]},
        LINE | {"steps": [GOOD | {"violation": [0, float("nan")]}]}, LINE | {"steps": [GOOD | {"step": -1}]},
        LINE | {"steps": [GOOD | {"positions": [4, True]}]}, LINE | {"steps": [GOOD | {"exact": 1}]},
        LINE | {"steps": [GOOD | {"positions": [4, -5]}]}, LINE | {"steps": [GOOD | {"violation": [0, 10**400]}]},
    ],
)  # fmt: skip
def test_a_line_that_explains_nothing_is_named(tmp_path, line):
    (tmp_path / "why.jsonl").write_text(json.dumps(LINE) + "\n" + json.dumps(line) + "\n")
    with pytest.raises(InputError, match=r"why.jsonl:2"):
        list(read_explained(tmp_path / "why.jsonl"))
