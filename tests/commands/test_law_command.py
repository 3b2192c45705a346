"""`nap order --law`: what decodes cost against the exact law that they were made under."""

import json
from typing import Any

import pytest

from nap import decode
from nap.canvas.canvas import CanvasSpec
from nap.commands.evaluate import Eval
from nap.commands.flags import CanvasFlags
from nap.commands.law import open_law
from nap.commands.order import OrderCommand
from nap.common.files import InputError
from nap.data.trace_files import write_traces
from nap.models.exact_cost import cost_of
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


def test_each_setting_of_a_run_has_a_cost_of_its_own(tmp_path, capsys):
    (tmp_path / "corpus.txt").write_text("a b c d\nb a d c\nc c a a\nd b b d\n")
    law = f"exact:{tmp_path}/corpus.txt"
    denoiser = open_law(law)
    canvas, traces, files = CanvasSpec.plain(4), {}, []
    for pace in (1, 4):
        found = decode(law, ["a", "c"], policy="random", tokens_per_step=pace, canvas=canvas)
        traces[pace] = [result.trace for result in found]
        files.append(tmp_path / f"{pace}.jsonl")
        write_traces(traces[pace], str(files[-1]))
    both = tmp_path / "both.jsonl"
    both.write_text("".join(file.read_text() for file in files))
    OrderCommand(file=str(both), law=law, json=True).run()
    *_, slow, fast, whole = map(json.loads, capsys.readouterr().out.splitlines())
    for pace, said in ((1, slow), (4, fast)):
        costs = [cost_of(denoiser, trace) for trace in traces[pace]]
        assert said["id"] == f"law: {law} | random | {pace}/step" and said["traces"] == 2
        assert said["nats a token"] == pytest.approx(sum(cost.nats for cost in costs) / said["tokens"])
        assert said["dependence"] == pytest.approx(sum(cost.dependence for cost in costs) / said["tokens"])
    assert slow["dependence"] == pytest.approx(0, abs=1e-9) != fast["dependence"] and whole["traces"] == 4
    OrderCommand(file=str(both), law=law).run()
    assert f"{law} | random | 4/step" in capsys.readouterr().out
