"""Paths stop once more than a share of them is finished with one answer, and nothing else changes."""

from dataclasses import replace

import numpy as np
import pytest

from nap.canvas.canvas import CanvasSpec, layout, parse
from nap.canvas.visibility import Attention
from nap.common.files import InputError
from nap.data.problems import Problem
from nap.data.trace import COMMIT, FILL, check_trace
from nap.decoding.again import decode_again
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.engine import Engine
from nap.decoding.policies.registry import parse_policy
from nap.decoding.prompt import canvas_of
from nap.evaluation.run import run_sweep
from nap.evaluation.sweep import Sweep
from nap.models.load import load
from nap.tasks.registry import load_task, path_reader
from tiny import QUESTION, nap, save_tiny
from toys import MASK, WORDS, OracleDenoiser

EARLY = "parallel_threshold:tau=0.8,agree=0.5"


def last(id: str, text: str) -> str | None:
    """The last word of a path."""
    return (text.split() or [None])[-1]


def case(texts, sure, prompt="a", attention: Attention = "full"):
    """A canvas of a path a text, and an oracle that is so sure of each path; its summary is `z z`."""
    spec = CanvasSpec(paths=len(texts), path_tokens=4, summary_tokens=2, attention=attention)
    canvas = layout(WORDS.encode(prompt), spec, WORDS, MASK, problem_id=prompt)
    target, confidence = canvas.ids.copy(), np.full(len(canvas), 0.95)
    for path, (text, chance) in enumerate(zip([*texts, "z z"], [*sure, 0.95], strict=True)):
        target[canvas.region == path], confidence[canvas.region == path] = WORDS.encode(text), chance
    return canvas, target, confidence


def decoded(cases, policy, reads=last, **settings):
    oracle = OracleDenoiser(*zip(*cases, strict=True))
    traces = decode_traces(oracle, [canvas for canvas, *_ in cases], parse_policy(policy), reads=reads, **settings)
    for trace in traces:
        check_trace(trace)
    return traces, [parse(c, t.final, WORDS, t.uncounted) for (c, *_), t in zip(cases, traces, strict=True)]


SURE_OF_TWO = case(["a b c q", "d e f q", "g h i q"], [0.95, 0.95, 0.4])


def test_the_rest_stops_once_most_paths_agree():
    (trace,), (said,) = decoded([SURE_OF_TWO], EARLY)
    (whole,), (all_said,) = decoded([SURE_OF_TWO], "parallel_threshold:tau=0.8", reads=None)
    assert all_said.paths == ("a b c q", "d e f q", "g h i q") and whole.forwards == 5
    assert said.paths == ("a b c q", "d e f q", "g") and said.summary == "z z" and trace.forwards == 2
    fills = [event for event in trace.events if event.kind == FILL]
    assert len(fills) == 3 and {event.step for event in fills} == {0}
    assert [e for e in trace.events if e.kind == COMMIT and e.step == 0] == [e for e in whole.events if e.step == 0]


@pytest.mark.parametrize(
    ("texts", "share", "forwards"),
    [
        (["a b c q", "d e f r", "g h i q"], 0.5, 5),  # Of two finished paths each says something else.
        (["a b c q", "d e f q", "g h i q"], 0.7, 5),  # Two of three are no more than .7.
        (["a b c q", "d e f q", "g h i q"], 0.3, 2),
        (["a b c q", "d e f q", "g h i q", "j k l q"], 0.5, 5),  # Two of four are no majority.
        (["a b c q", "d e f q", "g h i q", "j k l q"], 0.4, 2),
    ],
)
def test_as_many_must_agree_as_are_asked_for(texts, share, forwards):
    sure = [0.95, 0.95, *[0.4] * (len(texts) - 2)]
    (trace,), _ = decoded([case(texts, sure)], f"parallel_threshold:tau=0.8,agree={share}")
    assert trace.forwards == forwards


def test_paths_that_answer_nothing_do_not_agree():
    (trace,), _ = decoded([SURE_OF_TWO], EARLY, reads=lambda id, text: None)
    assert trace.forwards == 5


def test_a_row_that_stops_changes_no_other():
    other = case(["a b c q", "d e f r", "g h i s"], [0.4, 0.95, 0.4], prompt="b")
    together, _ = decoded([SURE_OF_TWO, other], EARLY)
    apart = [decoded([one], EARLY)[0][0] for one in (SURE_OF_TWO, other)]
    assert [[e[:4] for e in t.events] for t in together] == [[e[:4] for e in t.events] for t in apart]


def test_the_reader_is_told_the_problem_and_reads_a_finished_path_once():
    told = []

    def reads(id, text):
        told.append((id, text))
        return text

    decoded([case(["a b c q", "d e f r", "g h i s"], [0.95, 0.95, 0.4], prompt="b")], EARLY, reads=reads)
    assert sorted(told) == [("b", "a b c q"), ("b", "d e f r")]


@pytest.mark.parametrize("policy", ["parallel_forced:agree=0.5", EARLY, "parallel_entropy_bound:agree=0.5"])
def test_with_an_exact_cache_it_stops_at_the_same_tokens(tmp_path, policy):
    """Of two layers: what is filled makes stale what sees it."""
    denoiser = load(str(save_tiny(tmp_path / "deep", num_hidden_layers=2)))
    assert denoiser.canvas
    canvas = canvas_of(denoiser, Problem(id="p", prompt=QUESTION, answer=""), denoiser.canvas.under("paths"))
    chosen, found = parse_policy(policy), []
    for cache in ("none", "exact"):
        told = {"budget": Budget(tokens=2) if chosen.paced else None, "cache": cache, "reads": lambda id, text: "same"}
        found.append(decode_traces(denoiser, [canvas], chosen, **told)[0])
    assert [e[:4] for e in found[0].events] == [e[:4] for e in found[1].events]
    assert any(event.kind == FILL for event in found[0].events) or policy.startswith("parallel_forced")


def test_without_a_reader_it_is_refused_before_the_first_forward(tmp_path):
    canvas, target, confidence = SURE_OF_TWO
    oracle = OracleDenoiser([canvas], [target], [confidence])
    with pytest.raises(InputError, match="stops once its paths agree, and nothing here reads the answer of a path"):
        Engine(oracle).add(canvas, parse_policy(EARLY))
    with pytest.raises(InputError, match="agree must be from 0 to 1, got 2"):
        parse_policy("parallel_threshold:agree=2")
    (trace,), _ = decoded([SURE_OF_TWO], EARLY)
    with pytest.raises(InputError, match="nothing here reads the answer of a path"):
        decode_again(oracle, [replace(trace, setting={"policy": EARLY, "canvas": {}, "budget": {}, "sampling": {}})])


def test_a_sweep_stops_paths_by_its_task_and_refuses_one_that_reads_no_path(tiny, tmp_path):
    known = {"models": (str(tiny),), "policies": ("parallel_threshold", EARLY), "problems": 3}
    rows = run_sweep(Sweep(task="arith", **known), tmp_path / "run")
    assert [row.policy for row in rows[::3]] == ["parallel_threshold", EARLY]
    with pytest.raises(InputError, match="nothing here reads the answer of a path"):
        run_sweep(Sweep(task="sudoku", **known), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_task_reads_paths_by_the_problems_id():
    problem = Problem(id="p", prompt="", answer="7")
    reads = path_reader(load_task("arith"), [problem])
    assert reads and reads("p", "2 + 5 = 7 pears") == "7" and path_reader(load_task("sudoku"), [problem]) is None


def test_the_command_stops_paths_by_the_task_it_is_told(tiny):
    command = ["decode", "--model", tiny, "--prompt", QUESTION, "--policy", EARLY]
    refused, done = nap(*command), nap(*command, "--reads", "arith")
    assert refused.returncode == 2 and "nap decode --reads" in refused.stderr
    assert done.returncode == 0, done.stderr
