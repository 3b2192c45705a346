"""Paths written by several processes are the tokens of one, however many there are and whichever dies on the way."""

import os
import signal
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nap.canvas.canvas import CanvasSpec
from nap.common.files import InputError
from nap.data.problems import Problem
from nap.data.trace import check_trace
from nap.decoding import path_workers
from nap.decoding.budget import Budget, Sampling
from nap.decoding.decode import decode_traces
from nap.decoding.path_workers import PathWork, decode_over_workers
from nap.decoding.policies.registry import parse_policy
from nap.decoding.prompt import canvas_of
from nap.models.load import load
from tiny import QUESTION, nap, save_tiny

SPEC = CanvasSpec(paths=3, path_tokens=8, summary_tokens=3, attention="paths")
POLICIES = [("parallel_threshold:tau=0.3", None), ("parallel_entropy_bound:gamma=0.5", None), ("parallel_forced", 3)]


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    return str(save_tiny(tmp_path_factory.mktemp("models") / "deep", num_hidden_layers=2))


def case(deep, spec=SPEC, prompts=(QUESTION,)):
    denoiser = load(deep)
    problems = [Problem(id=f"p{i}", prompt=prompt, answer="") for i, prompt in enumerate(prompts)]
    return denoiser, [canvas_of(denoiser, problem, spec) for problem in problems]


def apart(deep, workers, policy="parallel_threshold:tau=0.3", tokens=None, spec=SPEC, prompts=(QUESTION,), **options):
    denoiser, canvases = case(deep, spec, prompts)
    settings: dict[str, Any] = {"budget": Budget(tokens=tokens), "backend": "threads"} | options
    return [*decode_over_workers(denoiser, {"name": deep}, canvases, parse_policy(policy), workers=workers, **settings)]


def together(deep, policy="parallel_threshold:tau=0.3", tokens=None, spec=SPEC, prompts=(QUESTION,), **options):
    denoiser, canvases = case(deep, spec, prompts)
    return decode_traces(denoiser, canvases, parse_policy(policy), budget=Budget(tokens=tokens), **options)


def written(trace):
    return sorted((event.step, event.kind, event.position, event.token) for event in trace.events)


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize(("policy", "tokens"), POLICIES)
@pytest.mark.parametrize("positions", ["canvas", "parallel"])
def test_workers_write_what_one_canvas_writes(deep, workers, policy, tokens, positions):
    told: Any = {"policy": policy, "tokens": tokens, "spec": replace(SPEC, positions=positions)}
    (found,), (one,) = apart(deep, workers, **told), together(deep, **told)
    check_trace(found.trace)
    assert written(found.trace) == written(one) and found.trace.forwards == one.forwards
    assert found.trace.final == one.final and len({*one.final}) > 5, "a model that says one thing tests nothing"


@pytest.mark.parametrize("eos", ["stop", "suppress", "defer"])
def test_ends_of_text_are_those_of_one_canvas(deep, eos):
    (found,), (one,) = apart(deep, 2, eos=eos), together(deep, eos=eos)
    assert written(found.trace) == written(one)


def test_requests_come_one_after_the_other(deep):
    prompts = (QUESTION, QUESTION.replace("5", "7"), QUESTION.replace("3", "2"))
    found, one = apart(deep, 2, prompts=prompts), together(deep, prompts=prompts)
    assert [written(each.trace) for each in found] == [written(trace) for trace in one]
    assert [each.trace.problem_id for each in found] == ["p0", "p1", "p2"]


def test_a_canvas_without_a_summary_is_done_when_its_paths_are(deep):
    spec = replace(SPEC, summary_tokens=0, paths=1)
    (found,), (one,) = apart(deep, 1, spec=spec), together(deep, spec=spec)
    assert written(found.trace) == written(one)


@pytest.mark.parametrize("path_tokens", [2, 8, 20])
def test_at_most_eight_bytes_a_path_token_come_back_and_the_prompt_goes_there(deep, path_tokens):
    spec = replace(SPEC, path_tokens=path_tokens)
    for policy, tokens in POLICIES:
        (found,) = apart(deep, 3, policy, tokens, spec=spec)
        prompt = sum(region == -2 for region in found.trace.region)
        assert found.received <= 8 * 3 * path_tokens
        assert found.sent == 3 * (4 * prompt + 4)


@dataclass(frozen=True, kw_only=True)
class Dies(PathWork):
    """Kills its process before the third step, once for each worker."""

    marks: str

    def _steps(self, denoiser: Any, canvas, paths):
        mark = Path(self.marks) / f"{paths}"
        if not mark.exists():
            mark.touch()
            original = denoiser.part
            calls = iter(range(3))

            def part(*arguments):
                if next(calls) == 2:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*arguments)

            object.__setattr__(denoiser, "part", part)
        return super()._steps(denoiser, canvas, paths)


@dataclass(frozen=True, kw_only=True)
class Sleeps(PathWork):
    """Never answers."""

    def __call__(self, request):
        time.sleep(600)
        return b""


def test_processes_of_which_one_is_killed_in_mid_path_write_the_same(deep, tmp_path, monkeypatch):
    monkeypatch.setattr(path_workers, "PathWork", partial(Dies, marks=str(tmp_path)))
    (found,), (one,) = apart(deep, 2, backend="processes"), together(deep)
    assert [*tmp_path.iterdir()], "nobody died"
    assert written(found.trace) == written(one)


def test_a_worker_that_never_answers_is_told_in_one_line(deep, monkeypatch):
    monkeypatch.setattr(path_workers, "PathWork", Sleeps)
    with pytest.raises(InputError, match=r"3 workers gave no answer for 0.5 s in a row") as caught:
        apart(deep, 2, backend="processes", patience=0.5)
    assert "\n" not in str(caught.value)


def test_more_workers_than_paths_are_a_warning(deep, caplog):
    (found,) = apart(deep, 5)
    assert "5 workers for 3 paths: the others have nothing to do" in caplog.text
    assert written(found.trace) == written(together(deep)[0])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"spec": replace(SPEC, attention="full")}, "under full attention paths see each other"),
        ({"policy": "threshold"}, "decides over several paths at once"),
        ({"policy": "parallel_threshold:summary=joint"}, "decides over several paths at once"),
        ({"policy": "parallel_threshold:agree=0.5"}, "decides over several paths at once"),
        ({"policy": "parallel_forced:keep=0.1", "tokens": 3}, "keeps runners-up"),
        ({"policy": "parallel_forced", "tokens": 4}, "deals 4 tokens a step over 3 paths"),
        ({"policy": "parallel_forced", "tokens": 3, "eos": "stop"}, "another --eos than stop"),
        ({"policy": "parallel_forced", "budget": Budget(steps=8)}, "workers need tokens per step"),
        ({"sampling": Sampling(temperature=1.0)}, "workers write the likeliest tokens"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_written_apart_is_refused_before_a_worker_starts(deep, monkeypatch, changes, said):
    monkeypatch.setattr(path_workers, "PathWork", None)
    with pytest.raises(InputError, match=said) as caught:
        apart(deep, **{"workers": 2} | changes)
    assert "\n" not in str(caught.value)


def test_the_command_says_what_travelled(deep):
    command = ["decode", "--model", deep, "--prompt", QUESTION, "--policy", "parallel_threshold:tau=0.3"]
    found = nap(*command, "--attention", "paths", "--workers", "2", "--json")
    one = nap(*command, "--attention", "paths", "--json")
    refused = nap(*command, "--attention", "paths", "--workers", "2", "--live")
    assert found.returncode == 0, found.stderr
    assert "2 workers: " in found.stderr and " bytes there and " in found.stderr
    assert found.stdout.split('"order"')[0] == one.stdout.split('"order"')[0]
    assert refused.returncode == 2 and "drop --live" in refused.stderr


@pytest.mark.filterwarnings("ignore")
def test_paths_over_a_ray_cluster_are_the_same_and_travel_once(deep, cluster):
    (found,) = apart(deep, 3, backend="ray")
    assert written(found.trace) == written(together(deep)[0])
    assert found.received <= 8 * SPEC.paths * SPEC.path_tokens


@pytest.mark.filterwarnings("ignore")
def test_ray_actors_of_which_one_is_killed_in_mid_path_write_the_same(deep, cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(path_workers, "PathWork", partial(Dies, marks=str(tmp_path)))
    (found,), (one,) = apart(deep, 2, backend="ray"), together(deep)
    assert [*tmp_path.iterdir()], "nobody died"
    assert written(found.trace) == written(one)


@pytest.mark.filterwarnings("ignore")
def test_a_ray_actor_that_never_answers_is_told_in_one_line(deep, cluster, monkeypatch):
    monkeypatch.setattr(path_workers, "PathWork", Sleeps)
    with pytest.raises(InputError, match=r"3 workers gave no answer for 0.5 s in a row") as caught:
        apart(deep, 2, backend="ray", patience=0.5)
    assert "\n" not in str(caught.value)
