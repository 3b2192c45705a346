"""What a new user types by mistake is taken as meant, or gets one line that says what to type."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from nap.cli import run
from nap.common.files import InputError
from nap.data.problems import Problem
from nap.data.trace_files import write_traces
from nap.evaluation.sweep import Sweep
from nap.models.checkpoint import find
from nap.tasks.registry import Generator, load_task
from samples import chain
from tiny import QUESTION


def made_by(model: str, policy: str, tokens: int | None) -> dict[str, object]:
    return {"model": {"model": model}, "policy": policy, "budget": {"tokens": tokens}}


def test_nap_order_has_a_mean_for_each_model_policy_and_pace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [made_by("a", "ar", 1), made_by("a", "ar", 1), made_by("a", "ar", 4), made_by("b", "klass", None)]
    lengths = (4, 8, 4, 6)
    traces = [chain(n, setting=setting) for n, setting in zip(lengths, settings, strict=True)]
    write_traces(traces, tmp_path / "t.jsonl")
    run(["order", str(tmp_path / "t.jsonl"), "--json"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()][4:]
    found = {row["id"]: (row["all"]["n_traces"], row["all"]["mean"]["n_tokens"]) for row in rows}
    assert found == {
        "mean of a | ar | 1/step": (2, 6.0), "mean of a | ar | 4/step": (1, 4.0), "mean of b | klass | own": (1, 6.0),
        "mean": (4, 5.5),
    }  # fmt: skip
    run(["order", str(tmp_path / "t.jsonl"), "--k", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[5:9]] == [*found]


def test_traces_of_one_setting_have_one_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_traces([chain(4), chain(6)], tmp_path / "t.jsonl")
    run(["order", str(tmp_path / "t.jsonl"), "--json"])
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == ["p0", "p0", "mean"]


def test_a_file_of_any_number_of_settings_has_so_many_means_and_no_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nap.commands.order.MOST_CELLS", 3)
    write_traces([chain(4, setting=made_by("a", f"own{n}", 1)) for n in range(9)], tmp_path / "t.jsonl")
    run(["order", str(tmp_path / "t.jsonl"), "--json"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()][9:]
    found = {row["id"]: row["all"]["n_traces"] for row in rows}
    own = {f"mean of a | own{n} | 1/step": 1 for n in range(3)}
    assert found == own | {"mean of any other (3 are told apart)": 6, "mean": 9}


PARTS: dict[str, Any] = {"task": "arith", "models": ("arith-nap",), "policies": ("threshold",)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"policies": ("threshold", "threshold:tau=0.9")}, "of the policies, threshold and threshold:tau=0.9 are the"),
        ({"models": ("m", "m/", "./m")}, "of the models, m and m/ are the same one; name it once"),
    ],
)
def test_one_setting_under_two_names_is_not_run_twice(
    changes: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said):
        Sweep(**PARTS | changes)
    apart: dict[str, Any] = {"policies": ("threshold", "threshold:tau=0.8", "threshold")}
    assert len(Sweep(**PARTS | apart).cells()) == 2


@pytest.mark.parametrize("given", [chain(), "t", 3, [3], {"text": chain()}], ids=lambda given: type(given).__name__)
def test_what_is_no_list_of_traces_is_not_written(given: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"traces must be a list of traces, got .* give \[trace\]"):
        write_traces(given, tmp_path / "t.jsonl")
    assert not (tmp_path / "t.jsonl").exists()


def test_an_exact_law_is_no_checkpoint() -> None:
    with pytest.raises(InputError, match=r"'exact:t\.txt' is an exact law, which has no files of a checkpoint"):
        find("exact:t.txt")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--law", "exact:grids"], "holds bare orders, which have no tokens; give traces, or drop --law"),
        (["--ties-within", "0.1"], "holds bare orders, which have no candidates; give traces, or drop --ties-within"),
    ],
)
def test_what_only_traces_have_is_not_asked_of_bare_orders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    (tmp_path / "o.jsonl").write_text("[[0, 0], [1, 1]]\n")
    with pytest.raises(InputError, match=said):
        run(["order", str(tmp_path / "o.jsonl"), *flags])
    assert not capsys.readouterr().out


def test_a_report_of_bare_orders_names_the_command_that_measures_them(tmp_path: Path) -> None:
    orders = tmp_path / "orders.jsonl"
    orders.write_text("[[0, 0], [1, 1]]\n")
    with pytest.raises(InputError, match=r"orders\.jsonl holds bare orders and no traces.*: nap order measures it"):
        run(["report", str(orders), "--out", str(tmp_path / "r.html")])
    assert not (tmp_path / "r.html").exists()


def test_model_and_models_are_one_flag_of_decode_and_of_eval(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for word in ("--model", "--models"):
        run(["decode", word, str(tiny), "-p", QUESTION, "--tokens-per-step", "20"])
        small = ["--task", "arith", "--policies", "ar", "--tokens-per-step", "20", "--problems", "1"]
        run(["eval", word, str(tiny), *small, "--out", str(tmp_path / word)])
    assert "1/step" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("wandb", r"--report-to wandb needs its package: pip install wandb"),
        ("wandbb", r"unknown --report-to 'wandbb'; did you mean 'wandb'"),
    ],
)
def test_a_place_to_report_to_that_is_not_there_is_one_line_before_a_training(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, said: str
) -> None:
    from transformers.integrations import integration_utils

    monkeypatch.setattr(integration_utils, "get_available_reporting_integrations", list)
    with pytest.raises(InputError, match=said):
        run(
            [
                "train",
                "--model",
                str(tiny),
                "--data",
                "none.parquet",
                "--out",
                str(tmp_path / "run"),
                "--report-to",
                place,
            ]
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("f.jsonl", "score FILE --task jsonl --out OUT"),
        ("f.jsonl", "seqdep filter FILE --scorer none --keep 1 --out OUT"),
        ("f.jsonl", "trace convert FILE OUT"),
        ("f.jsonl", "trace import FILE OUT --source pairs"),
        ("f.jsonl", "trace explain FILE --out OUT"),
        ("f.jsonl", "decode --model arith-nap --prompts-from FILE --out OUT"),
        ("f.html", "report FILE --out OUT"),
        ("f.html", "report runs --explained FILE --out OUT"),
    ],
)
def test_no_command_writes_over_the_file_that_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file, link = Path(name), Path(f"link-{name}")
    file.write_text('{"question": "6*7?", "output": "42", "answer": 42, "text": "a\\nb"}\n')
    link.symlink_to(file)
    before = file.read_bytes()
    for out in (name, f"{tmp_path}/./{name}", str(link)):
        with pytest.raises(InputError, match=f"{out} is the file that is read .{name}., and would be replaced"):
            run([{"FILE": name, "OUT": out}.get(word, word) for word in words.split()])
    assert file.read_bytes() == before and link.is_symlink()


def test_nor_over_what_is_piped_in(tmp_path: Path) -> None:
    (tmp_path / "f.jsonl").write_text('{"question": "6*7?", "output": "42", "answer": 42}\n')
    with (tmp_path / "f.jsonl").open() as file:
        command = [sys.executable, "-m", "nap", "score", "-", "--task", "jsonl", "--out", str(tmp_path / "f.jsonl")]
        done = subprocess.run(command, stdin=file, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "is the file that is read (-)" in done.stderr


@pytest.mark.parametrize("task", ["arith", "sudoku", "grids", "igsm", "countdown"])
def test_problems_are_printed_as_they_are_generated(
    task: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = load_task(task)
    assert isinstance(found, Generator)
    expected = [asdict(problem) for problem in found.load(limit=2)]
    generate = type(found).generate

    def until_the_third(self: Generator, seed: int, index: int, split: str) -> Problem:
        if index == 2:
            raise KeyboardInterrupt
        return generate(self, seed, index, split)

    monkeypatch.setattr(type(found), "generate", until_the_third)
    with pytest.raises(KeyboardInterrupt):
        run(["problems", "--task", task, "--limit", "1000000"])
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == json.loads(json.dumps(expected))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--seed", "-1"], "--seed must be at least 0, got -1"),
        (["--samples", str(2**63)], "--samples must be at most 65536"),
        (["--contexts", str(2**64)], "--contexts must be at most 65536"),
    ],
)
def test_what_no_continuation_can_have_is_refused_before_a_scorer_is_opened(flags: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        run(["anticipate", "none.jsonl", "--scorer", "none", *flags])
