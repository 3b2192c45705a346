"""A recipe says its command, and what it makes is a model that NAP opens, decodes and shows the demo on."""

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from nap.canvas.canvas import collate
from nap.common.files import InputError
from nap.common.parquet import read_parquet
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.policies.registry import parse_policy
from nap.decoding.prompt import canvas_of
from nap.evaluation.rows import Seconds
from nap.models.checkpoint import ASSETS
from nap.models.load import load
from nap.tasks.registry import load_task
from tiny import RECIPES, environment, recipe

BUNDLED = recipe("bundled")
MODELS = [(task, kind) for task in BUNDLED.TASKS for kind in ("nap", "longcot")]


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.py")), ids=lambda path: path.name)
def test_a_recipe_opens_with_its_command_its_time_and_what_to_expect(path):
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring, "no docstring"
    commands = re.findall(r"^ {4}(python recipes/\S+.*)", docstring, re.MULTILINE)
    assert commands and all(shlex.split(command)[1] == f"recipes/{path.name}" for command in commands)
    assert "Expected wall time" in docstring
    for name in re.findall(r"\b(?:docs|recipes|tests|benchmarks)/[\w/]+\.\w+", docstring):
        assert (RECIPES.parent / name).exists(), f"{path.name} points to {name}, which is not there"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.py")), ids=lambda path: path.name)
def test_the_flags_in_a_recipes_docstring_exist(path):
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    process = subprocess.run([sys.executable, path, "--help"], capture_output=True, text=True, env=environment())
    assert process.returncode == 0 and not process.stderr
    _, _, flags = process.stdout.rpartition("options:")
    assert set(re.findall(r"--[a-z][\w-]+", docstring)) <= set(re.findall(r"--[a-z][\w-]+", flags))


@pytest.fixture(scope="module", params=MODELS, ids="-".join)
def trained(request, tmp_path_factory):
    """(task, kind, folder) of a model that its recipe trained for two steps."""
    task, kind = request.param
    spec, draw = BUNDLED.canvas_of(task, kind), partial(BUNDLED.draw, task, kind, 0)
    small = BUNDLED.Recipe(width=32, layers=1, steps=2, batch_size=4)
    with pytest.MonkeyPatch.context() as patch:
        # Compiling takes longer than all the rest, and what it computes is torch's business.
        patch.setattr("torch.compile", lambda model, **options: model)
        folder = BUNDLED.fit(
            BUNDLED.build_tokenizer(task), spec, draw, tmp_path_factory.mktemp("runs") / f"{task}-{kind}", small, seed=0
        )
    return task, kind, folder


def test_a_recipe_trains_only_in_a_folder_of_its_own_and_in_a_type_that_no_clock_chooses(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.compile", lambda model, **options: model)
    monkeypatch.setattr("nap.common.machine._product_seconds", lambda *_: pytest.fail("the machine was measured"))
    small = BUNDLED.Recipe(width=32, layers=1, steps=2, batch_size=4)
    spec, draw = BUNDLED.canvas_of("arith", "nap"), partial(BUNDLED.draw, "arith", "nap", 0)

    def fit(folder, draw=draw, **options):
        return BUNDLED.fit(BUNDLED.build_tokenizer("arith"), spec, draw, folder, small, seed=0, **options)

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"is not empty and holds no run: .*notes.txt"):
        fit(tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    setting = json.loads((fit(tmp_path / "run") / "training.json").read_text())
    assert setting["dtype"] == "torch.bfloat16"
    # A finished model is not taken for one of another recipe, of other data, or of another start.
    assert fit(tmp_path / "run") == fit(tmp_path / "run", device="cuda")
    with pytest.raises(InputError, match=r"another training \(dtype 'torch.bfloat16', now 'torch.float32'\)"):
        fit(tmp_path / "run", dtype="float32")
    with pytest.raises(InputError, match=r"a model of another training \(data "):
        fit(tmp_path / "run", draw=partial(BUNDLED.draw, "arith", "nap", 1))
    started = fit(tmp_path / "next", start=tmp_path / "run/final")
    assert fit(tmp_path / "next", start=tmp_path / "run/final") == started
    with pytest.raises(InputError, match=r"a model of another training \(start "):
        fit(tmp_path / "next", start=started)
    shutil.rmtree(tmp_path / "run" / "final")
    with pytest.raises(InputError, match=r"another setting \(dtype 'torch.bfloat16', now 'torch.float32'\)"):
        fit(tmp_path / "run", dtype="float32")
    # As earlier versions left it: checkpoints, and nobody's claim.
    (tmp_path / "run" / "setting.json").unlink()
    assert fit(tmp_path / "run").name == "final"


def test_what_a_recipe_saves_opens_and_decodes_its_own_task(trained):
    task, kind, folder = trained
    denoiser = load(str(folder))
    spec = denoiser.canvas
    assert spec is not None and spec == BUNDLED.canvas_of(task, kind)
    problems = load_task(task).load("test", 2)
    canvases = [canvas_of(denoiser, problem, spec) for problem in problems]
    traces = decode_traces(denoiser, canvases, parse_policy("parallel_forced"), budget=Budget(tokens=24))
    for trace, canvas in zip(traces, canvases, strict=True):
        assert denoiser.mask_id not in trace.final
        assert trace.forwards <= np.ceil((canvas.region >= 0).sum() / 24) + 1
    setting = json.loads((folder / "training.json").read_text())
    assert setting["steps"] == 2 and setting["seed"] == 0 and setting["name"] == f"{task}-{kind}"


def test_decoding_asks_the_model_exactly_what_training_taught_it(trained):
    """The logits of a training batch are those of the denoiser on the same canvases."""
    from transformers import LlamaForCausalLM

    from nap.training.batches import DiffusionBatches

    task, kind, folder = trained
    denoiser = load(str(folder), dtype="float32")
    tokenizer, spec = BUNDLED.build_tokenizer(task), BUNDLED.canvas_of(task, kind)
    ids = {"mask_id": tokenizer.mask_token_id, "pad_id": tokenizer.pad_token_id}
    data = DiffusionBatches(
        lambda i: BUNDLED.draw(task, kind, 0, i), spec, tokenizer, **ids, batch_size=4, batches=1, seed=0
    )
    batch, canvases = data[0], data._chunk(0)[0]
    trained_as = LlamaForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    with torch.no_grad():
        expected = trained_as(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    rows_N, positions_N = batch["rows"], batch["positions"]
    _, where = collate(canvases, ids["pad_id"])
    logits_NV = denoiser.logits(batch["input_ids"], where, (rows_N, positions_N))
    torch.testing.assert_close(logits_NV, expected[rows_N, positions_N], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("task", BUNDLED.TASKS)
def test_a_recipes_tokenizer_knows_every_word_of_its_task_and_spells_it_back(task):
    tokenizer = BUNDLED.build_tokenizer(task)
    for index in range(300):
        sample = BUNDLED.TASKS[task].sample(1, index)
        for text in (sample.problem.prompt, *(path.text for path in sample.paths), sample.summary):
            ids = tokenizer.encode(text, add_special_tokens=False)
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids) == text


def test_both_canvases_of_a_task_have_the_same_positions():
    for task in BUNDLED.TASKS:
        slots = [sum(tokens for _, tokens, *_ in BUNDLED.canvas_of(task, kind).slots) for kind in ("nap", "longcot")]
        headers = [len(BUNDLED.canvas_of(task, kind).slots) for kind in ("nap", "longcot")]
        assert slots[0] + headers[0] == slots[1] + headers[1]


def test_the_demo_runs_on_the_bundled_models(tmp_path, monkeypatch, capsys):
    absent = [f"{task}-{kind}" for task, kind in MODELS if not (ASSETS / f"{task}-{kind}").is_dir()]
    if absent:
        pytest.skip(f"no bundled {', '.join(absent)} yet")
    demo = recipe("demo")
    smaller = {"policies": ("low_confidence", "parallel_forced"), "tokens_per_step": (8,)}
    monkeypatch.setattr(demo, "sweep_of", lambda *sweep, whole=demo.sweep_of: replace(whole(*sweep), **smaller))
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.setattr(sys, "argv", ["demo.py", "--problems", "1", "--out", str(tmp_path)])
    demo.main()
    out, err = capsys.readouterr()
    assert [*demo.TASKS] == ["grids", "agree", "igsm"]
    more = {"grids": ["grids-paths", "exact:grids"], "agree": ["exact:agree"], "igsm": []}
    for task in demo.TASKS:
        models = [f"{task}-longcot", f"{task}-nap", *more[task]]
        cells = [model for model in models for _ in smaller["policies"]]
        assert [row["model"] for row in read_parquet(tmp_path / task / "rows.parquet")] == cells
        assert re.findall(rf"^(?:{task}-|exact:{task})\w*(?=  )", out, re.MULTILINE) == cells
    assert re.search(r"^\d+ seconds in all$", err, re.MULTILINE) and str(tmp_path) in out
    # Who waits for the slowest task reads of the first.
    first, _, _ = out.partition("\nagree (")
    assert str(tmp_path / "report.html") in first


@pytest.mark.parametrize(("share", "chosen"), [(0.99 / 50, 50), (1.01 / 50, 20), (1.01 / 20, 10), (9, 10)])
def test_a_slow_machine_decodes_fewer_problems_in_the_demo_and_says_how_to_go_on(
    tmp_path, monkeypatch, capsys, share, chosen
):
    demo = recipe("demo")
    # A problem of each task takes its share of the minutes that there are; two workers decode side by side.
    seconds = 2 * share * demo.MINUTES * 60 / len(demo.TASKS)
    tried = {}

    def decode(sweep, folder, *, batch_size, workers):
        assert (sweep.task, batch_size, workers) == (folder.name, demo.BATCH, 2)
        rows = [Seconds(cell="any", problem_id=str(index), seconds=seconds) for index in range(sweep.problems)]
        tried[folder / "seconds.parquet"] = rows

    monkeypatch.setattr(demo, "run_shown", decode)
    monkeypatch.setattr(demo, "read_seconds", tried.get)
    assert [*demo.TRIED] == [*demo.TASKS]
    assert demo.affordable([tmp_path / task for task in demo.TASKS], workers=2) == chosen
    out = capsys.readouterr().out
    minutes = share * demo.MINUTES * 50
    told = f'some {minutes:.0f} minutes. Here are {chosen}; afterwards make demo DEMO="--problems 50" goes on to 50.'
    assert (told in out) == (chosen < 50)
