"""lm-evaluation-harness as released, on local files with a bundled model: generation, multiple choice, refusals."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nap.canvas.canvas import CanvasSpec, layout
from nap.common.files import InputError
from nap.data.trace_files import read_traces
from nap.decoding.budget import Sampling
from nap.tasks.registry import load_task
from toys import OracleDenoiser, Toy

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the packages that the harness imports
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed: pip install 'nap-dlm[harness]'")
    from lm_eval import simple_evaluate  # pyright: ignore[reportMissingImports]
    from lm_eval.api.instance import Instance  # pyright: ignore[reportMissingImports]
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]
from nap.serving.answer import cut
from nap.serving.lm_eval import HarnessModel

pytestmark = pytest.mark.filterwarnings("ignore")
PROBLEMS = 6
GENERATES: dict[str, Any] = {
    "dataset_path": "json", "test_split": "train", "output_type": "generate_until", "doc_to_text": "{{question}}",
    "doc_to_target": "{{answer}}", "generation_kwargs": {"until": ["\n"], "do_sample": False},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}  # fmt: skip
CHOOSES: dict[str, Any] = {
    "dataset_path": "json", "test_split": "train", "output_type": "multiple_choice", "doc_to_text": "{{question}}",
    "doc_to_choice": "{{choices}}", "doc_to_target": "{{label}}",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}  # fmt: skip


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Two tasks of generation, which read an answer in two ways, and one of multiple choice."""
    folder: Path = tmp_path_factory.mktemp("tasks")
    problems = load_task("arith").load("test", PROBLEMS)
    rows = [{"question": p.prompt, "answer": p.answer, "choices": [p.answer, "0", "10"], "label": 0} for p in problems]
    file = folder / "arith.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = {"dataset_kwargs": {"data_files": str(file)}}
    number = {
        "filter": [{"function": "regex", "regex_pattern": r"(\d+)"}, {"function": "take_first"}],
        "name": "number",
    }
    words = GENERATES | {"generation_kwargs": {"until": [" "], "max_gen_toks": 4}}
    return [
        GENERATES | told | {"task": "arith_local", "filter_list": [number]}, words | told | {"task": "arith_words"},
        CHOOSES | told | {"task": "arith_choice"},
    ]  # fmt: skip


def evaluate(model: HarnessModel, tasks: list[dict[str, Any]]) -> Any:
    manager = TaskManager(include_defaults=False)
    # Its decorator hides what it takes from a checker of types.
    run: Any = simple_evaluate
    return run(model, tasks=tasks, task_manager=manager, bootstrap_iters=0, log_samples=True)


def test_two_tasks_of_generation_and_one_of_choice_run_on_local_files(tasks, tmp_path):
    model = HarnessModel("arith-nap", policy="parallel_threshold", out=tmp_path, greedy=False)
    found = evaluate(model, tasks)
    scores = found["results"]
    # "8 keys": one task reads the number in it, the other stops at the blank. The bundled model solves all of these.
    assert scores["arith_local"]["exact_match,number"] == scores["arith_words"]["exact_match,none"] == 1
    assert 0 <= scores["arith_choice"]["acc,none"] <= 1
    traces = [*read_traces(tmp_path / "traces.jsonl")]
    assert [t.problem_id for t in traces[:2]] == ["arith_local/0/0", "arith_local/1/0"]
    assert len(traces) == 2 * PROBLEMS and {t.setting["policy"] for t in traces} == {"parallel_threshold"}
    told = [json.loads(line) for line in (tmp_path / "loglikelihoods.jsonl").read_text().splitlines()]
    assert [row["id"] for row in told[:4]] == [*(f"arith_choice/0/{i}" for i in range(3)), "arith_choice/1/0"]
    assert all(row["exact"] and row["standard_error"] == 0 and row["value"] < 0 for row in told)


def request(kind: str, *arguments: object) -> Instance:
    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0, metadata=("t", 0, 1))  # type: ignore[arg-type]


def test_a_policy_and_a_cache_decode_as_they_are_asked_for(tiny):
    question = "Ann has 5 pears . How many has Ann ?"
    asked = [request("generate_until", question, {"until": []})]
    (plain,) = HarnessModel(str(tiny), policy="ar", tokens_per_step=2, says="all").generate_until(asked)
    model = HarnessModel(str(tiny), policy="ar", tokens_per_step=2, cache="exact", says="all")
    assert model.generate_until(asked) == [plain] and model.traces[0].setting["cache"] != "none"
    slot = HarnessModel(str(tiny), canvas="plain")
    slot.generate_until([request("generate_until", question, {"until": [], "max_gen_toks": 7})])
    assert sum(code >= 0 for code in slot.traces[0].region) == 7
    own = HarnessModel(str(tiny), canvas=CanvasSpec(paths=2, path_tokens=3, summary_tokens=2))
    own.generate_until(asked)
    assert sum(code >= 0 for code in own.traces[0].region) == 8


def test_a_task_that_samples_is_sampled_and_one_that_does_not_is_not(tiny, capsys):
    question, model = "Ann has 5 pears . How many has Ann ?", HarnessModel(str(tiny), says="all")
    several = (
        {"do_sample": True, "temperature": np.float64(0.7), "top_k": np.int64(5)},
        {"do_sample": False, "temperature": 0.7},
        {},
    )
    for asked in (*several, {"do_sample": True, "top_p": 0.5}):
        model.generate_until([request("generate_until", question, asked)])
    drawn = [trace.setting["sampling"] for trace in model.traces]
    assert [one["temperature"] for one in drawn] == [0.7, 0.0, 0.0, 0.0] and drawn[0]["top_k"] == 5
    said = capsys.readouterr().err
    assert said.count("decoded at temperature 0;") == 1 and "do_sample True, temperature None" in said


def test_the_repetitions_of_a_request_are_draws_of_their_own_and_the_first_keeps_its_name(tiny):
    asked = request("generate_until", "Ann has 5 pears . How many has Ann ?", {"do_sample": True, "temperature": 1.0})
    model, once = (HarnessModel(str(tiny), says="all") for _ in range(2))
    texts = model.generate_until([asked] * 4)
    assert [trace.problem_id for trace in model.traces] == ["t/0/0", "t/0/0/1", "t/0/0/2", "t/0/0/3"]
    assert len({*texts}) > 1 and once.generate_until([asked]) == texts[:1]


def test_a_task_that_does_not_sample_is_greedy_whatever_the_model_was_made_with_and_that_is_said(tiny, capsys):
    model = HarnessModel(str(tiny), says="all", sampling=Sampling(temperature=0.5, guidance=1.0))
    for asked in ({"do_sample": False, "temperature": 0.0}, {"do_sample": False}, {"temperature": 0}):
        model.generate_until([request("generate_until", "Ann has 5 pears .", asked)])
        assert "decoded at temperature 0, not at the model's 0.5" in capsys.readouterr().err
    for asked in ({}, {"top_k": 3}, {"do_sample": True}):
        model.generate_until([request("generate_until", "Ann has 5 pears .", asked)])
    assert not capsys.readouterr().err
    drawn = [trace.setting["sampling"] for trace in model.traces]
    assert [one["temperature"] for one in drawn] == [0, 0, 0, 0.5, 0.5, 0.5] and drawn[4]["top_k"] == 3
    assert all(one["guidance"] == 1 for one in drawn)


def test_an_answer_that_the_model_would_write_is_greedy(tiny):
    model = HarnessModel(str(tiny))
    context = "Ann has 5 pears . How many has Ann ?"
    writer = HarnessModel(str(tiny), policy="low_confidence", canvas="plain")
    writer.generate_until([request("generate_until", context, {"max_gen_toks": 1})])
    token = model.denoiser.tokenizer.decode([writer.traces[0].final[-1]])
    found = model.loglikelihood([request("loglikelihood", context, f" {word}") for word in (token, "pears", "3")])
    assert [greedy for _, greedy in found] == [True, token == "pears", token == "3"]
    assert found[0][0] == max(value for value, _ in found)


def test_a_task_whose_score_is_what_the_model_would_write_is_refused_where_that_is_not_computed(tiny):
    model = HarnessModel(str(tiny), greedy=False)
    context = "Ann has 5 pears . How many has Ann ?"
    asked = [request("loglikelihood", context, f" {word}") for word in ("5", "3")]
    for number, one in enumerate(asked):
        one.doc_id, one.idx = 0, number
    assert [greedy for _, greedy in model.loglikelihood(asked)] == [False, False]
    asked[1].doc_id, asked[1].idx = 1, 0
    with pytest.raises(InputError, match="task t has one answer a document, and scores whether the model would write"):
        model.loglikelihood(asked)
    assert len(model.estimates) == 2


def test_a_plain_slot_is_given_as_it_was_written():
    letters = Toy(r"(?s).", ["\n", *map(chr, range(32, 127))], "")

    def written(prompt: str, text: str, until: list[str]) -> str:
        spec = CanvasSpec(paths=1, path_tokens=len(text), summary_tokens=0, tags="none")
        canvas = layout(letters.encode(prompt), spec, letters, 0)
        target = np.array([*letters.encode(prompt), *letters.encode(text)])
        model = HarnessModel(OracleDenoiser([canvas], [target], [0.9], tokenizer=letters), policy="ar", canvas="plain")
        (found,) = model.generate_until(
            [request("generate_until", prompt, {"until": until, "max_gen_toks": len(text)})]
        )
        return found

    code = written("def double(x):\n", "    return 2 * x\n\ndef other(): pass", ["\nclass", "\ndef"])
    assert code == "    return 2 * x\n"
    names: dict[str, Any] = {}
    exec("def double(x):\n" + code, names)
    assert names["double"](4) == 8
    assert written("Q: a\nA:", "\n\nQ: is it 5", ["\n\n"]) == "" == written("Q: a\nA:", "\nB: 5", ["\n"])


def test_a_folder_keeps_one_run_and_another_is_refused_before_it_decodes(tiny, tmp_path, monkeypatch):
    asked, choice = (
        request("generate_until", "Ann has 5 pears .", {}),
        request("loglikelihood", "Ann has 5 pears", " ."),
    )
    first, second = (HarnessModel(str(tiny), out=tmp_path) for _ in range(2))
    for _ in range(2):
        first.generate_until([asked])
        first.loglikelihood([choice])
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(second.denoiser, "logits", lambda *_: pytest.fail("decoded"))
    for other in (second, HarnessModel(second.denoiser, out=tmp_path)):
        with pytest.raises(InputError, match=r"traces.jsonl is of an earlier run, which would be lost; choose another"):
            other.generate_until([asked])
        with pytest.raises(InputError, match=r"loglikelihoods.jsonl is of an earlier run"):
            other.loglikelihood([choice])
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == kept and len(first.traces) == 2


def test_perplexity_of_a_text_is_refused_by_name(tiny):
    with pytest.raises(InputError, match=r"loglikelihood_rolling \(task t\) is not defined for a diffusion model"):
        HarnessModel(str(tiny)).loglikelihood_rolling([request("loglikelihood_rolling", "a text")])


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"policy": "treshold"}, "did you mean 'threshold'"), ({"says": "paths"}, "unknown says 'paths'"),
        ({"policy": "threshold", "tokens_per_step": 2}, "sets its own pace"), ({"eos": "no"}, "unknown eos setting"),
        ({"policy": "wino", "cache": "exact"}, "the cache 'exact' does not give"),
        ({"policy": "parallel_threshold:agree=0.5"}, "agree"),
        ({"cache": "dualll"}, "unknown cache 'dualll'"), ({"canvas": "palin"}, "unknown canvas 'palin'"),
        ({"draws": 1}, "draws must be at least 2, got 1"), ({"draws": "3"}, "draws must be a whole number, got '3'"),
        ({"greedy": "False"}, "greedy must be True or False, got 'False'"),
        ({"policy": None}, "policy must be a text or a Policy, got None"),
        ({"tokens_per_step": 2.5}, "tokens_per_step must be a whole number or None, got 2.5"),
        ({"sampling": {"temperature": 1}}, "sampling must be a Sampling or None, got "),
        ({"out": __file__}, "cannot be a folder: a file is in the way"),
    ],
)  # fmt: skip
def test_bad_settings_are_named_before_anything_is_decoded(tiny, told, said):
    with pytest.raises(InputError, match=said):
        HarnessModel(str(tiny), **told)


def test_a_path_and_numbers_of_numpy_are_taken_and_what_was_decoded_is_kept_with_its_task(tiny, tmp_path):
    numbers: Any = {"tokens_per_step": np.int64(4), "seed": np.int64(3)}
    model = HarnessModel(tiny, **numbers, out=tmp_path / "out")
    asked = [request("generate_until", "Ann has 5 pears . How many has Ann ?", {})]
    assert model.generate_until(asked)
    (kept,) = read_traces(tmp_path / "out/traces.jsonl")
    assert kept.setting["task"] == "t" and kept.setting["seed"] == 3


def test_a_limit_below_the_models_own_canvas_is_said_to_change_nothing(tiny, capsys):
    asked = [request("generate_until", "Ann has 5 pears . How many has Ann ?", {"max_gen_toks": 2})]
    own = CanvasSpec(paths=2, path_tokens=3, summary_tokens=4)
    HarnessModel(str(tiny), tokens_per_step=8, canvas=own).generate_until(asked)
    assert "t/0/0: its task says max_gen_toks 2, and the canvas has 4 tokens" in capsys.readouterr().err


def test_bad_requests_are_named(tiny):
    model = HarnessModel(str(tiny))
    with pytest.raises(InputError, match="unknown setting of a generation 'beams'"):
        model.generate_until([request("generate_until", "Ann has 5 pears .", {"beams": 4})])
    with pytest.raises(InputError, match="max_gen_toks must be at least 1, got 0"):
        HarnessModel(str(tiny), canvas="plain").generate_until([request("generate_until", "Ann", {"max_gen_toks": 0})])
    for asked, said in (
        ({"do_sample": True, "temperature": "0.7"}, "temperature must be a number, got '0.7'"),
        ({"do_sample": True, "temperature": 1.0, "top_k": 5.0}, "top_k must be a whole number, got 5.0"),
        ({"do_sample": True, "temperature": True}, "temperature must be a number, got True"),
        ({"until": [5]}, r"t/0/0: `until` must be a text or a list of texts, got \[5\]"),
        ({"max_gen_toks": "5"}, "t/0/0: max_gen_toks must be a whole number, got '5'"),
        ({"until": 5}, "`until` must be a text or a list of texts, got 5"),
        (None, "a request has a context, and settings or an answer"),
    ):
        with pytest.raises(InputError, match=said):
            model.generate_until([request("generate_until", "Ann has 5 pears .", asked)])
    with pytest.raises(InputError, match="a request has a context, and settings or an answer"):
        model.generate_until([request("generate_until", "Ann has 5 pears .")])
    with pytest.raises(InputError, match="does not know the word 'quantum'"):
        model.loglikelihood([request("loglikelihood", "Ann has 5 pears .", " quantum")])
    with pytest.raises(InputError, match="has no token of its own"):
        model.loglikelihood([request("loglikelihood", "Ann has 5 pears .", "")])
    with pytest.raises(InputError, match="has no chat template"):
        model.apply_chat_template([{"role": "user", "content": "Ann"}])


def test_a_text_ends_at_the_first_stop():
    assert cut("a b c", ["c", "b"]) == "a " and cut("a b", []) == "a b" and cut("a b", ["x", ""]) == "a b"
