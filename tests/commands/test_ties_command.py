"""`nap order --ties-within`: from the runners-up of traces, and by decoding again."""

import json
import shutil
from dataclasses import replace

import pytest

from nap.commands.order import OrderCommand
from nap.common.files import InputError
from nap.data.problems import Problem
from nap.data.trace_files import read_traces, write_traces
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.policies.registry import parse_policy
from nap.decoding.prompt import canvas_of
from nap.models.load import load
from tiny import QUESTION, SPEC, change_json, save_tiny


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
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["id"], found["within"]) == ("ties", options["ties_within"])
    (metrics,) = found["cells"].values()
    return metrics


def test_bands_are_printed_beside_the_means_from_the_traces_alone(made, capsys):
    _, file = made
    wide, none = (told(capsys, file, ties_within=within) for within in (0.5, 0.0))
    assert wide["tau-b"]["left"] > wide["tau-b"]["right"] and none["tau-b"]["left"] == none["tau-b"]["value"]
    assert wide["tau-b"]["identified"] is False
    OrderCommand(file=str(file), ties_within=0.5).run()
    assert "not identified" in capsys.readouterr().out


def test_each_cell_of_a_run_has_its_own_band_and_its_difference_from_the_first(made, tmp_path, capsys):
    _, file = made
    traces = [*read_traces(file)]
    other = [replace(trace, setting=trace.setting | {"policy": "low_confidence:keep=0.9"}) for trace in traces]
    plain = [replace(trace, setting=trace.setting | {"policy": "random", "runners_up": None}) for trace in traces]
    write_traces([*traces, *other, *plain], tmp_path / "t.jsonl")
    OrderCommand(file=str(tmp_path / "t.jsonl"), ties_within=0.0, json=True).run()
    cells = json.loads(capsys.readouterr().out.splitlines()[-1])["cells"]
    assert [name.split(" | ")[1] for name in cells] == ["low_confidence:keep=0.5", "low_confidence:keep=0.9"]
    OrderCommand(file=str(tmp_path / "t.jsonl"), ties_within=0.0).run()
    told = capsys.readouterr().out
    assert "less the first" in told and "+0.00, not identified" in told and "left out: trace '0' kept no" in told


def test_bands_come_from_decoding_again_where_a_model_is_given(made, capsys):
    model, file = made
    found = told(capsys, file, ties_within=1.0, model=str(model))
    # All are within 1 of the best, so that the order is the canvas's own.
    assert found["tau-b"]["left"] == 1 and found["tau-b"]["right"] == -1


def test_a_model_that_changed_behind_its_name_does_not_decode_again(made, tmp_path):
    model, file = shutil.copytree(made[0], tmp_path / "model"), tmp_path / "t.jsonl"
    said = load(str(model)).setting
    write_traces([replace(trace, setting=trace.setting | {"model": said}) for trace in read_traces(made[1])], file)
    change_json(model / "config.json", hidden_act="relu")
    with pytest.raises(InputError, match=r"trace '0' was not made by .* as it is opened now"):
        OrderCommand(file=str(file), ties_within=0.1, model=str(model)).run()


def test_what_asks_for_nothing_is_refused(made):
    model, file = made
    with pytest.raises(InputError, match=r"kept runners-up within 0\.5, not 0\.9"):
        OrderCommand(file=str(file), ties_within=0.9).run()
    with pytest.raises(InputError, match=r"was made by .*, not by arith-nap"):
        OrderCommand(file=str(file), ties_within=0.1, model="arith-nap").run()
    with pytest.raises(InputError, match="--ties-within must be 0 or more"):
        OrderCommand(file=str(file), ties_within=-1).run()
    with pytest.raises(InputError, match="--model decodes again for --ties-within"):
        OrderCommand(file=str(file), model=str(model)).run()


def test_paces_given_as_steps_are_cells_of_their_own(made, tmp_path, capsys):
    _, file = made
    paces = [{"tokens": None, "steps": steps} for steps in (4, 8)]
    traces = [replace(t, setting=t.setting | {"budget": pace}) for pace in paces for t in read_traces(file)]
    write_traces(traces, tmp_path / "t.jsonl")
    OrderCommand(file=str(tmp_path / "t.jsonl"), ties_within=0.0, json=True).run()
    cells = json.loads(capsys.readouterr().out.splitlines()[-1])["cells"]
    assert [name.rpartition(" | ")[2] for name in cells] == ["4 steps", "8 steps"]
