"""The package from Python: what `nap.__all__` promises is there, cheap to import, and has an example that runs."""

import doctest
import json
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nap
from nap.common.files import InputError
from nap.data.trace import Trace
from nap.models.checkpoint import ASSETS
from nap.models.load import load

QUESTION = "Ann has 2 pears . Bob has 3 more than Ann . Cat has Ann and Bob together . How many has Cat ?"


@pytest.fixture(scope="module")
def model():
    return nap.load("arith-nap")


def test_importing_the_package_takes_under_a_tenth_of_a_second_and_imports_nothing_heavy():
    code = (
        "import sys, time; before = time.process_time(); import nap; spent = time.process_time() - before\n"
        "print(spent); print({'torch', 'numpy', 'tyro'} & {*sys.modules})"
    )
    spent, heavy = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split("\n")[:2]
    assert float(spent) < 0.1 and heavy == "set()"


def _object(name):
    home = nap._CALLED.get(name)
    return getattr(import_module(f"nap.{home}") if home else nap, name)


@pytest.mark.parametrize("name", [name for name in nap.__all__ if name != "__version__"])
def test_every_name_of_the_front_door_has_an_example_that_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = doctest.DocTestFinder(recurse=False).find(_object(name), name, module=False)
    tests = [test for test in found if test.examples]
    assert tests, f"nap.{name} has no example in its docstring"
    for test in tests:
        said: list[str] = []
        failed = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append).failed
        assert not failed, "".join(said)


def test_every_stable_name_stands_in_the_changelog():
    text = (Path(__file__).parents[2] / "CHANGELOG.md").read_text()
    assert not [name for name in nap.__all__ if f"`nap.{name}`" not in text]


def test_a_verb_and_a_room_of_one_name_are_both_there_whoever_came_first():
    code = "import nap.order.rates, nap; assert nap.order([[0, 0]])['n_tokens'] == 1; assert nap.order.rates.tpf"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
    with pytest.raises(AttributeError, match="its names are Canvas, "):
        _ = nap.decod  # pyright: ignore[reportAttributeAccessIssue]


def test_the_six_lines_give_a_text_an_order_and_a_short_trace(model):
    result = nap.decode(model, QUESTION, policy="threshold:tau=0.9", canvas="nap", cache="dual")
    assert result.text == result.completion.summary and "7" in result.text
    arness = result.trace.order()["global_arness@1"]
    assert arness is not None and 0 < arness <= 1
    assert all(len(repr(one)) < 120 and "\n" not in repr(one) for one in (result, result.trace, result.completion))
    assert repr(result).startswith(f"Result(summary {result.text!r}, 3 paths: {result.trace.steps} steps, ")
    with pytest.raises(KeyError, match="global_arness@1"):
        _ = result.trace.order()["arness"]


def test_an_open_model_says_in_one_line_what_it_is(model):
    size = sum(weight.numel() for weight in model.model.parameters())
    assert repr(model) == f"NativeDenoiser('arith-nap': llama, {size:,} parameters, float32 on cpu)"


def test_a_list_of_prompts_is_a_batch_that_says_the_same_and_can_be_watched(model):
    steps = []
    found = nap.decode(model, [QUESTION, "Ann has 2 pears . How many has Ann ?"], tokens_per_step=4, watch=steps.append)
    assert [one.trace.problem_id for one in found] == ["prompt-1", "prompt-2"]
    assert found[0].text == nap.decode(model, QUESTION, tokens_per_step=4).text
    assert {step.row for step in steps} == {0, 1} and len(steps) == sum(one.trace.steps for one in found)


class Heard:
    """A streamer as transformers has them: what it was sent."""

    def __init__(self):
        self.said = []

    def put(self, value):
        self.said.append(("put", value.shape[-1]))

    def put_draft(self, value):
        self.said.append(("draft", value.shape[-1]))

    def end(self):
        self.said.append("end")


def test_a_streamer_hears_the_prompt_each_step_the_canvas_and_the_end_and_changes_nothing(model):
    heard = Heard()
    trace = nap.decode(model, QUESTION, tokens_per_step=9, streamer=heard).trace
    prompt, rest = sum(code == -2 for code in trace.region), sum(code >= -1 for code in trace.region)
    assert heard.said == [("put", prompt), *[("draft", rest)] * trace.steps, ("put", rest), "end"]
    assert trace.events == nap.decode(model, QUESTION, tokens_per_step=9).trace.events
    with pytest.raises(InputError, match="a streamer follows one prompt, got 2"):
        nap.decode(model, [QUESTION, QUESTION], streamer=heard)


def test_the_live_view_draws_a_lane_a_path_in_a_terminal_and_one_output_in_a_notebook(model, capsys, monkeypatch):
    nap.decode(model, QUESTION, tokens_per_step=40, streamer=nap.Live(model))
    drawn = capsys.readouterr().err
    assert all(f"{lane} │" in drawn for lane in (" path 1", " path 3", "summary"))
    shown = []

    class Handle:
        def update(self, data, raw):
            shown.append(data["text/plain"])

    def display(data, raw, display_id):
        shown.append(data["text/plain"])
        return Handle()

    monkeypatch.setattr("nap.face.live.in_notebook", lambda: True)
    monkeypatch.setitem(sys.modules, "IPython.display", type(sys)("IPython.display"))
    monkeypatch.setattr(sys.modules["IPython.display"], "display", display, raising=False)
    trace = nap.decode(model, QUESTION, tokens_per_step=40, streamer=nap.Live(model)).trace
    assert len(shown) == trace.steps and shown[0].startswith("step 1") and "summary │" in shown[-1]


def test_a_canvas_by_name_is_the_models_own_where_it_is_of_that_kind(model):
    own, named = (nap.decode(model, QUESTION, canvas=kind, tokens_per_step=8).trace for kind in (None, "nap"))
    assert own.initial == named.initial
    with pytest.raises(InputError, match="is too long for arith-nap"):
        nap.decode(model, QUESTION, canvas="longcot")
    with pytest.raises(InputError, match="unknown canvas 'napp'; did you mean 'nap'"):
        nap.decode(model, QUESTION, canvas="napp")  # pyright: ignore[reportArgumentType, reportCallIssue]


def test_an_evaluation_of_an_open_model_is_that_of_its_name_and_resumes(model, tmp_path):
    told = {"policies": ["ar"], "tokens_per_step": [4], "problems": 2}
    run = nap.evaluate(model, "arith", **told, out=tmp_path / "run")
    again = nap.evaluate("arith-nap", "arith", **told)
    assert [record.right for record in run.records] == [record.right for record in again.records]
    assert repr(run.table()) == repr(again.table()) and run.table()._repr_html_().count("<tr>") == 2
    assert [*run.traces()] == [*nap.evaluate(model, "arith", **told, out=tmp_path / "run").traces()]
    folder = again.folder
    del again
    assert not folder.exists()


@pytest.mark.parametrize("cache", [None, 5, ["dual"], "Dual", "dual:refresh"])
def test_a_cache_that_is_no_name_is_told_the_names(model, cache):
    with pytest.raises(InputError, match="cache") as caught:
        nap.decode(model, QUESTION, cache=cache)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("policy", [None, 5, ["ar"], "Threshold"])
def test_a_policy_that_is_neither_a_name_nor_a_policy_is_told_the_names(model, policy):
    with pytest.raises(InputError, match="policy"):
        nap.decode(model, QUESTION, policy=policy)


def test_one_policy_one_pace_and_one_cache_need_no_list(model, tmp_path):
    run = nap.evaluate(model, "arith", policies="low_confidence:block=16", tokens_per_step=8, problems=1, cache="dual")
    assert [(one.policy, one.pace, one.cache) for one in run.records] == [("low_confidence:block=16", "8/step", "dual")]
    with pytest.raises(InputError, match="cache must be a text or a list of texts, got None"):
        nap.evaluate(model, "arith", policies="ar", problems=1, cache=None)  # pyright: ignore[reportArgumentType]


loose: Any = nap  # Python does not check what people pass.
MISFITS = {
    "prompt must be a text or a list of texts, got None": lambda model: loose.decode(model, None),
    r"prompt must be a text or a list of texts, got \[1\]": lambda model: loose.decode(model, [1]),
    "prompt must be a text or a list of texts, got b'x'": lambda model: loose.decode(model, b"x"),
    "tokens_per_step must be a whole number or None, got 1.5": lambda model: loose.decode(
        model, QUESTION, tokens_per_step=1.5
    ),
    "tokens_per_step must be a whole number or None, got '2'": lambda model: loose.decode(
        model, QUESTION, tokens_per_step="2"
    ),
    "temperature must be a number, got None": lambda model: loose.decode(model, QUESTION, temperature=None),
    "top_k must be a whole number, got 2.5": lambda model: loose.decode(model, QUESTION, top_k=2.5),
    "seed must be a whole number, got True": lambda model: loose.decode(model, QUESTION, seed=True),
    "streamer must be a Streamer or None, got 3": lambda model: loose.decode(model, QUESTION, streamer=3),
    "model must be a Denoiser, a text or a path, got 3": lambda model: loose.decode(3, QUESTION),
    "problems must be a whole number, got 2.0": lambda model: loose.evaluate(model, "arith", problems=2.0),
    "watch must be a function, got None": lambda model: loose.evaluate(model, "arith", watch=None),
    "compile must be True or False, got 'False'": lambda model: loose.evaluate("arith-nap", "arith", compile="False"),
    "ks must be a list of whole numbers, got 2": lambda model: loose.measure([[0, 0]], ks=2),
    "source must be a Trace, an Order or a list of lists, got 3": lambda model: loose.order(3),
    "runs must be a Run, a text, a path or a list of Runs or texts or paths, got 3": lambda model: loose.report(3),
    "traces must be a Trace, got 'run'": lambda model: loose.replay("run"),
    "model must be a Denoiser, got 'arith-nap'": lambda model: loose.Live("arith-nap"),
    "gap_tokens .--gap-tokens. is the length of a gap ___, and there is none; drop it": lambda model: loose.decode(
        model, QUESTION, infill="Bob has [MASK] .", gap_tokens=4
    ),
    "threshold, entropy_bound: each sets its own pace; drop tokens per step and steps": lambda model: loose.evaluate(
        model, "arith", policies=["threshold", "entropy_bound"], steps=4, out="run"
    ),
    "paths must be a whole number, got True": lambda model: loose.CanvasSpec(paths=True),
    "shift must be True or False or None, got 'False'": lambda model: loose.load("arith-nap", shift="False"),
    "trust_remote_code must be True or False, got 1": lambda model: loose.load("arith-nap", trust_remote_code=1),
    "name must be a text or a path, got 5": lambda model: loose.load(5),
}


@pytest.mark.parametrize("said", MISFITS)
def test_an_argument_of_another_type_is_named_with_what_it_may_be(model, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"^{said}$"):
        MISFITS[said](model)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "told", [{"device": "cuda"}, {"dtype": "bfloat16"}, {"int8": "weights"}, {"compile": True}], ids=str
)
def test_how_a_model_is_opened_is_not_said_of_one_that_is_open(model, told, tmp_path):
    (name,) = told
    with pytest.raises(InputError, match=f"{name} is for models that are named, and this one is open"):
        nap.evaluate(model, "arith", **told, problems=1, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("told", [{"top_p": 0.5}, {"top_k": 2}, {"reads": "arith"}], ids=str)
def test_a_setting_that_changes_nothing_is_refused(model, told):
    with pytest.raises(InputError, match="changes nothing"):
        nap.decode(model, QUESTION, **told)


def test_a_path_is_as_good_as_a_name_and_a_number_of_numpy_as_pythons(model, tmp_path):
    folder = Path(nap.__file__).parent / "assets/arith-nap"
    (tmp_path / "p.jsonl").write_text(json.dumps({"question": QUESTION, "answer": "7"}))
    said = loose.decode(folder, QUESTION, tokens_per_step=np.int64(8), temperature=np.float32(0))
    assert said.text == nap.decode(nap.load(folder), QUESTION, tokens_per_step=8).text
    nap.write_traces([said.trace], tmp_path / "t.jsonl")
    told = {"data": tmp_path / "p.jsonl", "policies": ["ar"], "tokens_per_step": np.array([8, 16])}
    runs = [loose.evaluate(folder, "jsonl", **told, problems=1), loose.evaluate([folder], "jsonl", **told, problems=1)]
    assert [record.pace for run in runs for record in run.records] == ["8/step", "16/step"] * 2
    spec = loose.CanvasSpec(path_tokens=np.int64(16))
    assert spec == nap.CanvasSpec(path_tokens=16) and type(spec.path_tokens) is int
    pairs = [(0, 0), (1, 1), (2, 1)]
    for order in (np.array(pairs), zip([0, 1, 2], [0, 1, 1], strict=True), (pair for pair in pairs)):
        assert loose.order(order).json() == nap.order(pairs).json()


def test_a_notebook_gets_the_page_in_a_frame_that_can_reach_nothing(model):
    html = nap.decode(model, QUESTION, tokens_per_step=8)._repr_html_()
    run = nap.evaluate(model, "arith", policies=["ar"], tokens_per_step=[4, 8], problems=2)
    for shown in (html, run._repr_html_()):
        assert shown.startswith('<iframe sandbox="allow-scripts" ') and shown.endswith("</iframe>")
        assert "default-src &#x27;none&#x27;" in shown and shown.count("<") == 2
    assert "&quot;only&quot;:&quot;table&quot;" in run._repr_html_()
    with pytest.raises(InputError, match="a replay is of 1 to 3 traces, got 0"):
        nap.replay()


def test_a_trace_is_one_of_the_data_and_says_who_made_it_in_a_line(model, tmp_path):
    trace = nap.decode(model, QUESTION, tokens_per_step=8).trace
    nap.write_traces([trace], tmp_path / "t.jsonl")
    (back,) = nap.read_traces(tmp_path / "t.jsonl")
    assert isinstance(back, Trace) and back == trace and repr(back) == repr(trace)


def test_the_python_of_the_readme_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "README.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(block.split("\n\n", 1)[1].splitlines()) == 5  # and the import
    exec(block.replace("problems=20", "problems=2"), {})
    first, head, *_ = capsys.readouterr().out.splitlines()
    # Of each of the three stories its clues.
    assert re.fullmatch(r"\('.*bag.*cousin.*', '.*map.*and.*', '.*coins.*cold.*'\) 0\.\d+", first), first
    assert head.startswith("| model | policy | pace |")


def test_a_model_whose_files_were_replaced_is_opened_again(tmp_path):
    def right(run):
        return [(record.right, record.tpf.value) for record in run.records]

    kept: dict[str, Any] = {"policies": ["threshold"], "problems": 4}
    place = tmp_path / "model"
    own = {name: right(nap.evaluate(name, "arith", **kept)) for name in ("arith-nap", "arith-longcot")}
    assert own["arith-nap"] != own["arith-longcot"]
    for name, expected in own.items():
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(ASSETS / name, place)
        assert right(nap.evaluate(place, "arith", **kept)) == expected
    held = nap.load(place)
    shutil.rmtree(place)
    shutil.copytree(ASSETS / "arith-nap", place)
    with pytest.raises(nap.InputError, match="have changed since it was opened; open it again"):
        nap.evaluate(held, "arith", **kept)


def test_an_open_model_answers_as_it_was_opened_by_any_number_of_workers_and_only_when_it_is_given():
    kept: dict[str, Any] = {"policies": ["threshold"], "problems": 2}
    shifted = nap.load("arith-nap", shift=True)
    one, two = (nap.evaluate(shifted, "arith", workers=n, batch_size=1, **kept) for n in (1, 2))
    by_name = nap.evaluate("arith-nap", "arith", dtype="float32", **kept)
    assert one.records[0].tpf == two.records[0].tpf != by_name.records[0].tpf
    assert [next(run.traces()).setting["model"]["shift_logits"] for run in (one, two, by_name)] == [True, True, False]


def test_weights_that_were_changed_in_memory_are_another_model(tmp_path):
    kept: dict[str, Any] = {"policies": ["threshold"], "problems": 2, "out": tmp_path / "run"}
    model = load("arith-nap")
    nap.evaluate(model, "arith", **kept)
    with torch.no_grad():
        next(model.model.parameters()).mul_(0.3)
    with pytest.raises(nap.InputError, match="in_memory"):
        nap.evaluate(model, "arith", **kept)
    kept["out"] = tmp_path / "new"
    with pytest.raises(nap.InputError, match="were changed in memory, and 2 workers would open its files"):
        nap.evaluate(model, "arith", workers=2, **kept)
    changed = nap.evaluate(model, "arith", **kept)
    assert "in_memory" in (changed.folder / "setting.json").read_text()
