"""The command in the page makes the same run, and the page says nothing of the machine's folders."""

import json
import shlex
import shutil
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import tyro

import nap
from nap.canvas.canvas import CanvasSpec
from nap.cli import main
from nap.commands.evaluate import Eval
from nap.common.parquet import read_parquet
from nap.evaluation.summary import summarise
from nap.evaluation.sweep import Sweep
from nap.report.page import payload, write_report
from nap.report.rerun import rerun
from nap.report.runs import Run, read_run
from samples import chain, row, small_rows, write_run

PLAIN = Sweep(task="arith", models=("a b",), policies=("ar", "threshold:tau=0.8"), tokens_per_step=(1, 2, 4, 8))
CANVASES = [
    CanvasSpec(paths=2, path_tokens=9, summary_tokens=3, tags="hash"),
    CanvasSpec(paths=2, path_tokens=9, attention="paths", positions="parallel", after_end="keep"),
    CanvasSpec(paths=1, path_tokens=9, summary_tokens=4, tags="hash", after_end="keep"),
    CanvasSpec(paths=1, path_tokens=9, summary_tokens=0),
    CanvasSpec(paths=1, path_tokens=9, summary_tokens=0, tags="none", after_end="keep", positions="parallel"),
]
# One value of every field that is not the usual one.
UNUSUAL = {
    "tokens_per_step": (3,), "steps": (4, 5), "problems": 7, "skip": 2, "split": "train", "data": "my problems.jsonl",
    "cache": ("none", "dual"), "prompt_field": "q", "answer_field": "a", "strict": True, "attention": "paths",
    "temperature": 0.5, "top_p": 0.9, "top_k": 5, "guidance": 1.5, "eos": "defer", "seed": -3, "raw": True,
    "system": "- short\nand plain",     "prompt_template": "Q: {problem}", "examples": "gsm8k-cot", "shots": 2,
    "chat_template_kwargs": ("thinking=False",),     "device": "cuda:1", "dtype": "bfloat16", "revision": "main",
    "trust_remote_code": True, "mask_id": 3,     "shift": False, "block_size": 8,
    "int8": "products", "compile": True,
    "examples_as": "turns", "infill": "The answer is [MASK:4].", "gap_tokens": 5,
}  # fmt: skip


def command_of(folder: str | Path) -> str:
    """The command in the page of a run."""
    data: Any = payload([read_run(folder)])
    return data["runs"][0]["command"]


def again(sweep, **more):
    """The flags that the command of a sweep's setting is read as, and the sweep that they ask for."""
    setting = {"kind": "eval"} | json.loads(
        json.dumps(asdict(sweep) | {"made_of": {}, "nap": "0.1.0", "traces": 7} | more)
    )
    words = shlex.split(rerun(setting, "my run") or "")
    assert words[:2] == ["nap", "eval"]
    read = tyro.cli(Eval, args=words[2:])
    assert (read.out, read.traces) == ("my run", more.get("traces", 7))
    return read.sweep()


@pytest.mark.parametrize("canvas", CANVASES)
@pytest.mark.parametrize("attention", [None, "paths", "full"])
def test_the_command_makes_the_canvas_again(canvas, attention):
    found, meant = again(replace(PLAIN, canvas=canvas, attention=attention)), canvas.under(attention)
    assert found.canvas and found.canvas.under(found.attention) == meant
    assert replace(found, canvas=None, attention=None) == PLAIN


@pytest.mark.parametrize("name", UNUSUAL)
def test_the_command_says_every_setting_that_is_not_the_usual_one(name):
    shown, gap, drawn = {"examples": "gsm8k-cot"}, {"infill": "___ is it."}, {"temperature": 0.5}
    needed = {"shots": shown, "examples_as": shown, "gap_tokens": gap, "top_p": drawn, "top_k": drawn}.get(name, {})
    sweep = replace(PLAIN, **{name: UNUSUAL[name]}, **needed)
    assert again(sweep) == sweep


def test_every_field_of_a_sweep_is_tried():
    assert {*UNUSUAL} == {*asdict(PLAIN)} - {"task", "models", "policies", "canvas"}


def test_what_is_usual_is_not_said_and_a_setting_without_models_has_no_command():
    assert rerun(json.loads(json.dumps(asdict(PLAIN))), "out") == (
        "nap eval --task arith --models 'a b' --policies ar threshold:tau=0.8 --out out"
    )
    assert rerun({"task": "arith"}, "out") is None


def test_a_setting_of_an_earlier_version_named_one_cache():
    written = {"task": "arith", "models": ["m"], "policies": ["ar"]}
    assert " --cache dual " in (rerun(written | {"cache": "dual"}, "out") or "")
    assert "--cache" not in (rerun(written | {"cache": "none"}, "out") or "")


@pytest.mark.parametrize(
    ("baseline", "said"), [(None, []), ("nap | low_confidence", ["--baseline", "nap | low_confidence"]),
                           ("nap | low_confidence | 1/step", ["--baseline", "nap | low_confidence | 1/step"])]
)  # fmt: skip
def test_the_command_compares_with_the_same_baseline(baseline, said):
    records = summarise(small_rows(), baseline=baseline)
    words = shlex.split(rerun({"task": "arith", "models": ["longcot", "nap"]}, "out", records) or "")
    assert words[words.index("nap", 1) + 1 : -2] == said
    assert not said or summarise(small_rows(), baseline=said[1]) == records


def test_a_run_made_again_by_the_command_of_its_page_has_the_same_rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    canvas = CanvasSpec(paths=2, path_tokens=12, summary_tokens=3)
    nap.evaluate(
        "arith-nap", "arith", policies=["random"], steps=[3], problems=2, canvas=canvas, attention="paths",
        seed=5, temperature=0.7, top_k=9, out="first",
    )  # fmt: skip
    command = command_of("first")
    words = shlex.split(command)
    monkeypatch.setattr("sys.argv", [*words[:-1], "second"])
    main()
    assert read_parquet(tmp_path / "first/rows.parquet") == read_parquet(tmp_path / "second/rows.parquet")


# Places


def test_no_absolute_path_is_in_the_page(tmp_path):
    home = tmp_path / "it's me"
    models = [str(home / "one/ckpt"), str(home / "two/ckpt")]
    guided = f"demask:guide={home}/guide"
    rows = [row(model, guided, "1/step", f"p{i}", i > 1) for model in models for i in range(3)]
    setting = {
        "models": models, "policies": [guided], "data": f"{home}/problems.jsonl", "system": "/no_think",
        "made_of": {"models": {models[0]: {"weights": "0"}}},
    }  # fmt: skip
    trace = chain(setting={"model": {"model": models[0]}, "policy": guided})
    run = write_run(home / "runs/mine", rows, [trace], setting)
    (run / "summary.json").write_text("[")
    write_report([run], tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert str(tmp_path) not in text and "it's me" not in text
    command = command_of(run)
    assert "--models one/ckpt two/ckpt --policies demask:guide=guide" in command
    assert "--data problems.jsonl --system /no_think" in command and command.endswith("--out mine")


def test_relative_names_stay_and_like_names_stay_apart(tmp_path):
    data: Any = payload(
        [Run(name="runs/mine"), Run(name="/a/model/"), Run(name="/a/model-2"), Run(name="C:\\me\\x.jsonl")]
    )
    assert [run["name"] for run in data["runs"]] == ["runs/mine", "model/", "model-2", "x.jsonl"]


def test_a_bundled_model_given_as_a_folder_is_run_again_where_it_lies(tmp_path, monkeypatch):
    shutil.copytree(str(files("nap") / "assets/arith-nap"), tmp_path / "ckpt")
    monkeypatch.chdir(tmp_path)
    run = nap.evaluate(str(tmp_path / "ckpt"), "arith", policies=["ar"], tokens_per_step=[8], problems=1, out="first")
    words = shlex.split(command_of(run.folder))
    assert words[:6] == ["nap", "eval", "--task", "arith", "--models", "ckpt"]
    monkeypatch.setattr("sys.argv", [*words[:-1], "second"])
    main()
    first, second = (read_parquet(tmp_path / name / "rows.parquet") for name in ("first", "second"))
    assert [r["text"] for r in first] == [r["text"] for r in second]
