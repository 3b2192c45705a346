"""`nap order --ties-within`: from the runners-up of traces, and by decoding again."""

import json

import pytest

from nap.commands.order import OrderCommand
from nap.common.files import InputError
from nap.data.problems import Problem
from nap.data.trace_files import write_traces
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.policies.registry import parse_policy
from nap.decoding.prompt import canvas_of
from nap.models.load import load
from tiny import QUESTION, SPEC, save_tiny


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A tiny model, and traces of it that kept their runners-up."""
    folder = tmp_path_factory.mktemp("ties")
    model = save_tiny(folder / "model")
    denoiser = load(str(model))
    problems = [Problem(id=str(n), prompt=QUESTION, answer="8", task="arith") for n in range(2)]
    canvases = [canvas_of(denoiser, problem, SPEC) for problem in problems]
    policy = parse_policy("low_confidence:keep=0.5")
    write_traces(decode_traces(denoiser, canvases, policy, budget=Budget(tokens=1)), folder / "t.jsonl")
    return model, folder / "t.jsonl"


def told(capsys, file, **options):
    OrderCommand(file=str(file), json=True, **options).run()
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_bands_are_printed_beside_the_means_from_the_traces_alone(made, capsys):
    _, file = made
    wide, none = (told(capsys, file, ties_within=within) for within in (0.5, 0.0))
    assert wide["id"] == "ties" and wide["within"] == 0.5
    assert wide["tau-b"]["left"] > wide["tau-b"]["right"] and none["tau-b"]["left"] == none["tau-b"]["value"]
    assert wide["tau-b"]["identified"] is False
    OrderCommand(file=str(file), ties_within=0.5).run()
    assert "not identified" in capsys.readouterr().out


def test_bands_come_from_decoding_again_where_a_model_is_given(made, capsys):
    model, file = made
    found = told(capsys, file, ties_within=1.0, model=str(model))
    # All are within 1 of the best, so that the order is the canvas's own.
    assert found["tau-b"]["left"] == 1 and found["tau-b"]["right"] == -1


def test_what_asks_for_nothing_is_refused(made):
    model, file = made
    with pytest.raises(InputError, match=r"kept runners-up within 0\.5, not 0\.9"):
        OrderCommand(file=str(file), ties_within=0.9).run()
    with pytest.raises(InputError, match="--ties-within must be 0 or more"):
        OrderCommand(file=str(file), ties_within=-1).run()
    with pytest.raises(InputError, match="--model decodes again for --ties-within"):
        OrderCommand(file=str(file), model=str(model)).run()
