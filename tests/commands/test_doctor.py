"""`nap doctor` and `nap` alone: what a newcomer is told, and what is wrong with a checkpoint before it is loaded."""

import json
import shutil

import pytest

from nap.cli import run
from nap.commands import doctor
from nap.common.files import InputError
from nap.models.checkpoint import ASSETS
from nap.models.families import SpecialIds


def lines(out):
    return {line[4:17].strip(): (line[:3].strip(), line[18:]) for line in out.splitlines()}


@pytest.fixture
def copied(tmp_path):
    return shutil.copytree(ASSETS / "arith-nap", tmp_path / "model")


def test_nap_alone_greets_in_five_lines_and_then_lists_the_commands(capsys):
    run([])
    first, rest = capsys.readouterr().out.split("\n\n", 1)
    assert len(first.splitlines()) == 5 and "nap doctor" in first and rest.startswith("usage: nap COMMAND")
    run(["--help"])
    assert capsys.readouterr().out.startswith("usage: ")


def test_what_is_not_installed_is_said_with_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "_version", lambda package: None if package in ("peft", "torch") else "1.0")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    run(["doctor"])
    said = lines(capsys.readouterr().out)
    assert said["train"] == ("no", "peft not installed: pip install -e '.[train]' for train")
    assert said["math"] == ("ok", "math-verify 1.0") and said["network"][0] == "no" and "cpu" not in said


def test_a_checkpoint_is_described_without_its_weights(monkeypatch, capsys):
    monkeypatch.setattr("nap.models.weights.read_tensors", None)
    run(["doctor", "--model", "arith-nap"])
    said = lines(capsys.readouterr().out)
    assert said["family"] == ("ok", "llama, read as transformers' llama")
    assert said["canvas"] == ("ok", "nap: 3 paths of 30 tokens, a summary of 3; attention full")
    assert said["mask"][1] == "token 1; padding 0; a text ends at 0" and said["weights"][1].endswith("not loaded")


def test_every_lack_of_a_checkpoint_is_a_line_and_bad_input(copied, capsys):
    (copied / "model.safetensors").unlink()
    (copied / "canvas.json").unlink()
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"mask_token_id": 99}))
    with pytest.raises(InputError, match="cannot be opened as it is"):
        run(["doctor", "--model", str(copied)])
    said = lines(capsys.readouterr().out)
    assert said["weights"][0] == said["mask"][0] == "no" and "holds no weights" in said["weights"][1]
    assert said["canvas"][1].startswith("not said")


def test_the_canvas_that_is_advised_fits_and_a_model_without_an_end_of_text_is_said_to_have_none(
    copied, monkeypatch, capsys
):
    (copied / "canvas.json").unlink()
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 128}))
    monkeypatch.setattr("nap.models.families.special_ids", lambda *_: SpecialIds(1, 0, ()))
    run(["doctor", "--model", str(copied)])
    said = lines(capsys.readouterr().out)
    assert said["canvas"][1].endswith("give --canvas plain --path-tokens 64")
    assert said["mask"][1] == "token 1; padding 0; no token ends a text"
