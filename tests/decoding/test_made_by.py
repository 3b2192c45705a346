"""A trace is of its own model, under every policy and setting, and of no other that bears its name."""

from dataclasses import fields

import pytest

from nap.canvas.canvas import CanvasSpec
from nap.common.files import InputError
from nap.data.problems import Problem
from nap.decoding.budget import Budget, Sampling
from nap.decoding.decode import decode_traces
from nap.decoding.made_by import check_made_by
from nap.decoding.policies.registry import POLICIES, parse_policy
from nap.decoding.prompt import canvas_of
from nap.models.load import load
from tiny import QUESTION, save_tiny

SPEC = CanvasSpec(paths=2, path_tokens=6, summary_tokens=4)
# All that need no second model.
ALONE = [name for name, policy in POLICIES.items() if "guide" not in {field.name for field in fields(policy)}]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model, and another behind the same vocabulary."""
    folder = tmp_path_factory.mktemp("made_by")
    return [load(str(save_tiny(folder / str(seed), seed))) for seed in (0, 1)]


def traces(denoiser, policy="low_confidence", count=3, **settings):
    problems = [Problem(id=str(n), prompt=QUESTION, answer="8", task="arith") for n in range(count)]
    canvases, policy = [canvas_of(denoiser, problem, SPEC) for problem in problems], parse_policy(policy)
    return decode_traces(denoiser, canvases, policy, budget=Budget.of(policy), **settings)


@pytest.mark.parametrize("policy", ALONE)
def test_under_every_policy_a_trace_is_of_its_model_and_of_no_other(models, policy):
    for trace in traces(models[0], policy):
        check_made_by(models[0], trace)
        with pytest.raises(InputError, match=r"was not made by .*1 as it is opened now: \d+ of \d+ probabilities"):
            check_made_by(models[1], trace)


@pytest.mark.parametrize(
    "settings",
    [
        {"sampling": Sampling(temperature=0.7, top_p=0.9)}, {"sampling": Sampling(guidance=1.5)},
        {"eos": "suppress"}, {"eos": "defer"}, {"eos": "stop"}, {"cache": "exact"}, {"cache": "prefix"},
        {"cache": "dual", "policy": "low_confidence:block=4"},
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_change_what_a_trace_keeps_are_no_other_model(models, settings):
    for trace in traces(models[0], **settings):
        check_made_by(models[0], trace)


def test_a_shorter_type_is_no_other_model(models):
    short = load(str(models[0].setting["model"]), dtype="bfloat16")
    for trace in traces(models[0]):
        check_made_by(short, trace)
        with pytest.raises(InputError, match="was not made by"):
            check_made_by(load(str(models[1].setting["model"]), dtype="bfloat16"), trace)
    for trace in traces(short):
        check_made_by(models[0], trace)


def test_a_setting_that_the_model_is_opened_with_counts(models):
    shifted = load(str(models[0].setting["model"]), shift=True)
    with pytest.raises(InputError, match="with the same flags"):
        check_made_by(shifted, traces(models[0], count=1)[0])
