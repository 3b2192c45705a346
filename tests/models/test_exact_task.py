"""The law of a task as a denoiser: its probabilities by hand, its canvases, and what it refuses."""

from typing import Any

import numpy as np
import pytest
import torch

from nap.canvas.canvas import CanvasSpec, layout
from nap.canvas.visibility import Layout
from nap.common.files import InputError
from nap.data.problems import Problem
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.policies.registry import parse_policy
from nap.decoding.prompt import canvas_of, canvas_spec
from nap.models.any import load
from nap.models.exact_task import TaskDenoiser, cells_of
from nap.tasks.law import Law
from nap.tasks.registry import load_task

PATHS, CHAIN = (
    CanvasSpec(paths=2, path_tokens=3, summary_tokens=2),
    CanvasSpec(paths=1, path_tokens=5, summary_tokens=2),
)


class Two:
    """A task of two units of two words, of which the second repeats the first one's last."""

    name, count, cells, words = "two", 2, 2, ("a", "b", "c", "done")

    def read(self, id, question, gold=None):
        if question != "c":
            raise InputError(f"problem {id}: c wanted")
        return Problem(id=id, prompt=question, answer="")

    def law(self, problem):
        return [Law((0, 1), ["abba", "abbb", "babb"])]


def empty(denoiser, spec, prompt="c"):
    return layout(denoiser.tokenizer.encode(prompt), spec, denoiser.tokenizer, denoiser.mask_id)


@pytest.mark.parametrize(("spec", "slots"), [(PATHS, (0, 1)), (CHAIN, (0, 0))])
def test_the_cells_of_a_unit_are_found_in_paths_and_in_a_chain(spec, slots):
    canvas = empty(TaskDenoiser(Two(), "two"), spec)
    found = cells_of(canvas.region, 2, 2)
    assert [canvas.region[positions].tolist() for positions in found] == [[slots[0]] * 2, [slots[1]] * 2]
    assert np.concatenate(found).tolist() == sorted({*np.concatenate(found).tolist()})


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (CanvasSpec(paths=3, path_tokens=4, summary_tokens=2), "2 units of an exact task stand in 2 paths or in one"),
        (CanvasSpec(paths=2, path_tokens=1, summary_tokens=2), "do not fit the canvas"),
        (CanvasSpec(paths=1, path_tokens=3, summary_tokens=2), "do not fit the canvas"),
    ],
)
def test_a_canvas_that_cannot_hold_the_units_is_refused(spec, said):
    with pytest.raises(InputError, match=said):
        cells_of(empty(TaskDenoiser(Two(), "two"), spec).region, 2, 2)


@pytest.mark.parametrize("spec", [PATHS, CHAIN, CanvasSpec(paths=1, path_tokens=5, summary_tokens=0, tags="none")])
def test_the_chances_are_the_share_of_what_is_still_possible(spec):
    denoiser = TaskDenoiser(Two(), "two")
    canvas, token = empty(denoiser, spec), denoiser.tokenizer.convert_tokens_to_ids
    cells = np.concatenate(cells_of(canvas.region, 2, 2))

    def chances(ids):
        at = np.flatnonzero((canvas.region >= 0) & (ids == denoiser.mask_id))
        where = torch.zeros(len(at), dtype=torch.int64), torch.from_numpy(at)
        logits = denoiser.logits(torch.from_numpy(ids[None]), Layout(canvas.region[None]), where)
        return dict(zip(at.tolist(), logits.softmax(dim=-1).numpy(), strict=True))

    start = chances(canvas.ids)
    assert [start[p][token("a")] for p in cells] == pytest.approx([2 / 3, 1 / 3, 0, 1 / 3], abs=1e-3)
    rest = [denoiser.tokenizer.decode(int(start[p].argmax())) for p in start if p not in cells]
    summary = ["done", "</summary>"] if spec.summary_tokens else []
    closing = {2: ["</think 1>", "</think 2>"], 1: ["</think 1>"] if summary else ["<pad>"]}
    assert rest == [*closing[spec.paths], *summary]
    ids = canvas.ids.copy()
    ids[cells[0]] = token("a")
    assert [chances(ids)[p][token("b")] for p in cells[1:]] == pytest.approx([1, 1, 1 / 2], abs=1e-3)
    ids[cells[1]] = token("a")  # Impossible: as if nothing were there.
    assert [chances(ids)[p][token("a")] for p in cells[2:]] == pytest.approx([0, 1 / 3], abs=1e-3)


@pytest.mark.parametrize("name", ["exact:grids", "exact:grids,count=2,shared=1", "exact:agree,count=1"])
def test_a_perfect_model_is_right_one_token_a_step_and_forced_paths_keep_independent_units_right(name):
    denoiser = load(name)
    assert isinstance(denoiser, TaskDenoiser)
    task, count = denoiser.task, denoiser.task.count
    problems = [task.sample(0, index, split="test").problem for index in range(4)]
    canvases = [canvas_of(denoiser, problem, canvas_spec(denoiser, None)) for problem in problems]

    def right(policy, tokens):
        traces = decode_traces(denoiser, canvases, parse_policy(policy), budget=Budget(tokens=tokens))
        pairs = zip(traces, canvases, strict=True)
        units = [[words(trace, unit) for unit in cells_of(c.region, count, task.cells)] for trace, c in pairs]
        return [all(task.valid(*each)) for each in zip(problems, units, strict=True)]

    def words(trace, unit):
        return denoiser.tokenizer.decode([trace.final[position] for position in unit])

    assert all(right("low_confidence", 1)) and all(right("random", 1))
    if "shared" not in name:
        assert all(right("parallel_forced", count))
    assert not all(right("low_confidence", 8))


def test_it_is_evaluated_like_a_model():
    import nap

    policies = ["low_confidence", "parallel_forced"]
    found = nap.evaluate("exact:grids", task="grids", policies=policies, tokens_per_step=[3], problems=8)
    right = {record.policy: record.accuracy for record in found.records}
    assert right["parallel_forced"] == 1 > right["low_confidence"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("exact:grids,colour=3", "colour"),
        ("exact:grids,count=many", "count must be a whole number"),
        ("exact:grids,count=99", "count must be from 1 to 9"),
        ("exact:grids,summary=corners", "summary"),
    ],
)
def test_a_setting_that_is_none_is_one_line(name, said):
    with pytest.raises(InputError, match=said):
        load(name)


def test_a_prompt_that_is_no_problem_is_named():
    denoiser = load("exact:grids")
    with pytest.raises(InputError, match="3 grids of size 4 wanted"):
        canvas = empty(denoiser, denoiser.canvas, "grid 1 0 0")
        decode_traces(denoiser, [canvas], parse_policy("ar"), budget=Budget(tokens=1))


def test_the_tokenizer_knows_every_word_of_the_tasks():
    for name in ("grids", "agree"):
        task: Any = load_task(name)
        sample = task.sample(0, 1)
        words = {
            *sample.problem.prompt.split(),
            *sample.summary.split(),
            *(w for p in sample.paths for w in p.text.split()),
        }
        assert words <= {*task.words}
