"""`nap order --law`: what decodes cost against the exact law that they were made under."""

import json
from typing import Any

import pytest

from nap.commands.evaluate import Eval
from nap.commands.flags import CanvasFlags
from nap.commands.order import OrderCommand
from nap.common.files import InputError
from tiny import nap


def test_decodes_of_a_law_are_measured_against_it(tmp_path, capsys):
    (tmp_path / "corpus.txt").write_text("the cat sat .\nthe dog ran .\nthe cat ran .\n")
    law, file = f"exact:{tmp_path}/corpus.txt", tmp_path / "t.jsonl"
    said = ["decode", "--model", law, "--prompt", "the", "--canvas", "plain", "--path-tokens", "4", "--out", str(file)]
    assert nap(*said).returncode == 0
    OrderCommand(file=str(file), law=law, json=True).run()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["id"] == "law" and found["tokens"] == 4 and found["nats a token"] > 0
    assert found["dependence"] == pytest.approx(0, abs=1e-9) and found["total correlation"] == 0
    OrderCommand(file=str(file), law=law).run()
    assert "nats a token" in capsys.readouterr().out
    for other in ("arith-nap", "exact:grids"):
        with pytest.raises(InputError, match=f"--law takes the name of an exact law, exact:FILE, got '{other}'"):
            OrderCommand(file=str(file), law=other).run()
        assert not capsys.readouterr().out


def test_a_law_is_swept_like_any_model_and_the_run_resumes(tmp_path, capsys):
    (tmp_path / "corpus.txt").write_text("the cat sat .\nthe dog ran .\n")
    (tmp_path / "d.jsonl").write_text('{"id": "a", "prompt": "the", "answer": "x"}\n')
    law = f"exact:{tmp_path}/corpus.txt"
    options: dict[str, Any] = {"models": (law,), "task": "jsonl", "data": str(tmp_path / "d.jsonl"), "problems": 1}
    options |= {"policies": ("low_confidence", "threshold"), "tokens_per_step": (1,), "out": str(tmp_path / "run")}
    plain = CanvasFlags(canvas="plain", path_tokens=4)
    for _ in range(2):
        Eval(**options, canvas=plain, json=True).run()
    assert "low_confidence" in capsys.readouterr().out
    OrderCommand(file=str(tmp_path / "run"), law=law, json=True).run()
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["traces"] == 2
