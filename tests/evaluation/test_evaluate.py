"""A sweep's rows are the same whatever happens on the way, and count what docs/counting.md says that they count."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
import torch

from nap.canvas.canvas import CanvasSpec
from nap.common.files import InputError
from nap.common.folder import lock
from nap.common.journal import Journal, read_journal
from nap.common.parquet import read_parquet
from nap.common.records import from_row, to_row
from nap.data.trace import COMMIT, EDIT, FILL, HEADER, PROMPT, REMASK, Event, Trace
from nap.data.trace_files import read_traces
from nap.decoding.guides import fingerprint
from nap.decoding.judge import Judge, JudgeSetting, save_judge
from nap.evaluation.probe import probe_paths
from nap.evaluation.reuse import identify
from nap.evaluation.rows import Entry, Row, order_columns
from nap.evaluation.run import run_sweep, shares
from nap.evaluation.sweep import Sweep
from nap.models.identity import made_of
from nap.models.load import load
from nap.report.runs import read_run
from nap.tasks.arithmetic import equations
from tiny import QUESTION, SLOTS, change_json, environment, nap, save_tiny

PROBLEMS = 5
CELLS = [
    "ar | 4/step",
    "ar | 3 steps",
    "threshold:tau=0.3 | own",
    "parallel_forced | 4/step",
    "parallel_forced | 3 steps",
]


def sweep_of(model, **changes: Any) -> Sweep:
    policies = ("ar", "threshold:tau=0.3", "parallel_forced")
    known: dict[str, Any] = {"task": "arith", "models": (str(model),), "policies": policies, "problems": PROBLEMS}
    paces: dict[str, Any] = {"tokens_per_step": (4,), "steps": (3,)}
    return Sweep(**known | paces | changes)


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """The folder of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run_sweep(sweep_of(tiny), folder, traces=2)
    return folder


def same_results(one, other):
    """The rows to the byte; the traces but for what a rounding moves and what a clock says."""
    assert (one / "rows.parquet").read_bytes() == (other / "rows.parquet").read_bytes()
    traces = [
        [replace(t, seconds=(), events=tuple((*e[:4], round(e[4], 4)) for e in t.events)) for t in read_traces(f)]
        for f in (one / "traces.jsonl", other / "traces.jsonl")
    ]
    assert traces[0] == traces[1]
    return True


# The same rows


def test_a_run_has_a_row_for_each_cell_and_problem_in_the_order_given(whole, tiny):
    rows: list[Any] = read_parquet(whole / "rows.parquet")
    assert [row["cell"] for row in rows[::PROBLEMS]] == [f"{tiny} | {cell}" for cell in CELLS]
    assert [row["index"] for row in rows] == list(range(PROBLEMS)) * len(CELLS)
    assert len({row["text"] for row in rows}) > PROBLEMS, "a model that says one thing tests nothing"
    for row in rows:
        held = [holds for path in row["paths"] for holds in equations(path)]
        assert row["equations_right"] == (sum(held) / len(held) if held else None)
    assert len(list(read_traces(whole / "traces.jsonl"))) == 2 * len(CELLS)
    seconds: list[Any] = read_parquet(whole / "seconds.parquet")
    assert [(s["cell"], s["problem_id"]) for s in seconds] == [(r["cell"], r["problem_id"]) for r in rows]
    assert all(s["seconds"] > 0 for s in seconds)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_rows_are_the_same_to_the_byte_in_batches_of_any_size(whole, tiny, tmp_path, batch_size, temperature):
    if temperature:
        whole = tmp_path / "drawn"
        run_sweep(sweep_of(tiny, temperature=temperature), whole, traces=2)
    run_sweep(sweep_of(tiny, temperature=temperature), tmp_path / "run", batch_size=batch_size, traces=2)
    assert same_results(whole, tmp_path / "run")


def test_noise_and_seed_reach_the_rows(whole, tiny, tmp_path):
    runs = [whole]
    for seed in (0, 1):
        runs.append(tmp_path / str(seed))
        run_sweep(sweep_of(tiny, temperature=1.0, seed=seed), runs[-1])
    assert len({(folder / "rows.parquet").read_bytes() for folder in runs}) == 3


@pytest.mark.parametrize("kept", [0, 1, 0.3, 0.5, 0.999])
def test_a_journal_cut_anywhere_is_completed_to_the_same_rows(whole, tiny, tmp_path, kept):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    (folder / "rows.parquet").unlink()
    journal = (folder / "journal.jsonl").read_bytes()
    cut = journal[: int(len(journal) * kept)] if isinstance(kept, float) else journal[:kept]
    (folder / "journal.jsonl").write_bytes(cut)
    fresh = []
    run_sweep(sweep_of(tiny), folder, batch_size=2, traces=2, report=lambda progress: fresh.append(progress.batch))
    assert sum(fresh) == PROBLEMS * len(CELLS) - cut.count(b"\n")
    assert same_results(whole, folder)
    assert len((folder / "journal.jsonl").read_text().splitlines()) == PROBLEMS * len(CELLS)


def test_a_finished_run_is_not_run_again_and_returns_the_same_rows(whole, tiny):
    def fail(progress):
        raise AssertionError("it decoded")

    rows = run_sweep(sweep_of(tiny), whole, traces=2, report=fail)
    assert rows == [from_row(Row, row) for row in read_parquet(whole / "rows.parquet")]


SCRIPT = """
import sys, time
from multiprocessing import active_children
from nap.evaluation.run import run_sweep
from nap.evaluation.sweep import Sweep

def report(progress):
    if progress.done == 2:
        print(*[child.pid for child in active_children()], flush=True)
        time.sleep(600)

if __name__ == "__main__":
    run_sweep(Sweep(**{sweep}), {folder!r}, batch_size=1, workers=2, traces=2, report=report)
"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_after_kill_9_its_workers_die_and_the_same_command_completes_the_run(whole, tiny, tmp_path):
    folder, script = tmp_path / "run", tmp_path / "script.py"
    settings = {name: value for name, value in vars(sweep_of(tiny)).items() if value is not None}
    script.write_text(SCRIPT.format(sweep=settings, folder=str(folder)))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout
        workers = [int(pid) for pid in process.stdout.readline().split()]
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    deadline = time.monotonic() + 30
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(workers) >= 2 and not any(map(alive, workers))
    assert not (folder / "rows.parquet").exists()
    with (folder / "journal.jsonl").open("a") as file:
        file.write('{"row": {"cell": "')
    fresh = []
    run_sweep(
        sweep_of(tiny), folder, batch_size=3, workers=2, traces=2, report=lambda progress: fresh.append(progress.batch)
    )
    assert sum(fresh) == PROBLEMS * len(CELLS) - 2
    assert same_results(whole, folder), "one process or two, in one go or not"
    assert not active_children()


# Errors


def test_an_error_in_a_worker_is_the_users_one_line(tiny, tmp_path):
    with pytest.raises(InputError, match=r"^3 steps do not divide into 4 blocks; give a multiple of 4$"):
        run_sweep(sweep_of(tiny, policies=("low_confidence:block=5",)), tmp_path / "one", batch_size=2, workers=2)


def test_a_dead_worker_is_replaced_and_loses_no_row(whole, tiny, tmp_path):
    reports = []

    def kill_once(progress):
        if not reports:
            pid = active_children()[0].pid
            assert pid
            os.kill(pid, signal.SIGKILL)
        reports.append(progress.done)

    run_sweep(sweep_of(tiny), tmp_path / "run", batch_size=1, workers=2, traces=2, report=kill_once)
    assert reports == list(range(1, PROBLEMS * len(CELLS) + 1)) and same_results(whole, tmp_path / "run")
    assert not active_children()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"problems": 6, "eos": "stop"}, r"\(eos 'count', now 'stop'\)"),
        ({"temperature": 0.5, "seed": 1}, r"\(temperature 0.0, now 0.5, seed 0, now 1\)"),
        ({"canvas": CanvasSpec(paths=1, path_tokens=5)}, r"canvas.paths nothing, now 1, .*, and 3 more\)"),
        ({"system": "Bob", "policies": ("ar",)}, r"\(system None, now 'Bob'\)"),
        ({"dtype": "float16"}, r"\(dtype 'auto', now 'float16'\)"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_setting_is_refused_by_name_and_touches_nothing(whole, tiny, changes, said):
    before = files_of(whole)
    with pytest.raises(InputError, match=rf"holds a run with another setting .*{said}.*; choose another folder"):
        run_sweep(sweep_of(tiny, **changes), whole, traces=2)
    assert files_of(whole) == before


def test_weights_that_changed_behind_their_name_are_another_setting(tiny, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(tiny, model)
    run_sweep(sweep_of(model), tmp_path / "run")
    save_tiny(model, seed=1)
    with pytest.raises(InputError, match=r"made_of\.models\..*/model\.weights '\w+', now '\w+'"):
        run_sweep(sweep_of(model), tmp_path / "run")


def test_a_config_that_changed_behind_its_name_is_another_setting(tiny, tmp_path):
    model = shutil.copytree(tiny, tmp_path / "model")
    run_sweep(sweep_of(model), tmp_path / "run")
    change_json(model / "config.json", hidden_act="relu")
    with pytest.raises(InputError, match=r"model\.files\.config\.json '\w+', now '\w+'\); choose another folder"):
        run_sweep(sweep_of(model), tmp_path / "run")


def test_a_run_of_an_earlier_version_goes_on_with_a_word_and_notices_what_changes_from_then_on(tiny, tmp_path):
    model, folder, said = shutil.copytree(tiny, tmp_path / "model"), tmp_path / "run", list[str]()
    sweep = sweep_of(model, policies=("ar",))
    whole = run_sweep(sweep, folder)
    denoiser = load(str(model))
    own = denoiser.setting | {"weights": made_of(str(model), None)["weights"], "canvas": sweep.laid(denoiser)}
    problems = sweep.load_problems()
    earlier = identify(own, sweep, problems, sweep.lay_out(denoiser, problems)).digests
    change_json(folder / "setting.json", made_of={"models": {str(model): own}})
    with Journal(folder / "journal.jsonl", lambda entry: entry.key, read=Entry.read, write=Entry.json) as journal:
        journal.add([replace(e, made_of=earlier["none", e.row.problem_id]) for e in [*journal.done.values()]])

    def fail(progress):
        raise AssertionError("it decoded")

    assert run_sweep(sweep, folder, say=said.append, report=fail) == whole
    (line,) = said
    assert line.startswith(f"{len(whole)} ") and "which noted a model's weights alone" in line
    change_json(model / "config.json", hidden_act="relu")
    with pytest.raises(InputError, match=r"files\.config\.json"):
        run_sweep(sweep, folder)


def test_problems_that_changed_behind_their_name_are_decoded_again_and_named(tiny, tmp_path):
    data, said = tmp_path / "data.jsonl", list[str]()
    for answer in (8, 9):
        rows = [{"prompt": QUESTION, "answer": 8}, {"prompt": QUESTION, "answer": answer}]
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        fresh = []
        run_sweep(
            sweep_of(tiny, task="jsonl", data=str(data), policies=("ar",), steps=()), tmp_path / "run", say=said.append,
            report=lambda now, fresh=fresh: fresh.append(now.batch),
        )  # fmt: skip
    assert fresh == [1]
    assert any("1 finished rows are of other problems or prompts" in line and "jsonl-2" in line for line in said)


@pytest.mark.parametrize("probe", [False, True])
def test_rows_that_cannot_be_checked_are_named_and_repeated_ids_refused(tiny, tmp_path, probe):
    data, said, runs = tmp_path / "data.jsonl", list[str](), probe_paths if probe else run_sweep
    rows: list[dict[str, Any]] = [{"prompt": QUESTION, "answer": answer} for answer in (8, None, 9, None)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sweep = sweep_of(tiny, task="jsonl", data=str(data), policies=("ar",), steps=())
    assert len(runs(sweep, tmp_path / "run", say=said.append)) >= 2
    (line,) = (line for line in said if "left out" in line)
    assert line.startswith("2 rows left out: ") and "data.jsonl:2" in line and "the first of 2" in line
    data.write_text("".join(json.dumps(row | {"id": "a", "answer": 1}) + "\n" for row in rows))
    with pytest.raises(InputError, match="4 problems of task 'jsonl' have the id 'a'"):
        runs(sweep, tmp_path / "another")
    command = nap("vote", "--models", tiny, "--task", "jsonl", "--data", data, "--canvases", 1)
    assert command.returncode == 2 and "have the id 'a'" in command.stderr


# A run grows


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_run_grows_by_problems_policies_and_paces_to_what_a_fresh_one_is(tiny, tmp_path, temperature):
    grown, fresh, said, decoded = tmp_path / "grown", tmp_path / "fresh", list[str](), list[int]()
    run_sweep(sweep_of(tiny, temperature=temperature, policies=("ar", "threshold:tau=0.3")), grown, traces=2)
    policies = ("random", "ar", "threshold:tau=0.3")
    more = sweep_of(tiny, temperature=temperature, problems=7, steps=(3, 4), policies=policies)
    run_sweep(more, grown, traces=3, say=said.append, report=lambda now: decoded.append(now.batch))
    run_sweep(more, fresh, traces=3)
    assert same_results(fresh, grown) and (fresh / "setting.json").read_bytes() == (grown / "setting.json").read_bytes()
    # Of three cells five problems are there, of which the third has no trace yet.
    assert sum(decoded) == 7 * 7 - 3 * 4
    assert said[0] == "12 finished rows are used again, 37 are to do"


def test_what_is_not_asked_for_stays_in_the_journal_and_is_used_when_it_is_asked_for_again(tiny, tmp_path):
    folder, said = tmp_path / "run", list[str]()
    rows = run_sweep(sweep_of(tiny), folder, traces=2)
    fewer = run_sweep(sweep_of(tiny, policies=("ar",), problems=3), folder, traces=2, say=said.append)
    assert [(row.cell, row.problem_id) for row in fewer] == [
        (row.cell, row.problem_id) for row in rows if row.policy == "ar" and row.index in (0, 1, 2)
    ]
    assert len(read_parquet(folder / "rows.parquet")) == 6
    assert said == [
        f"19 finished rows are not asked for now and stay in the journal: of {tiny} | {CELLS[0]} and 4 more"
    ]

    def fail(progress):
        raise AssertionError("it decoded")

    assert run_sweep(sweep_of(tiny), folder, traces=2, report=fail) == rows


def test_a_run_grows_by_a_model(tiny, tmp_path):
    other = save_tiny(tmp_path / "other", seed=1)
    run_sweep(sweep_of(tiny), tmp_path / "grown", traces=2)
    both = sweep_of(tiny, models=(str(other), str(tiny)))
    decoded = []
    run_sweep(both, tmp_path / "grown", traces=2, report=lambda now: decoded.append(now.batch))
    run_sweep(both, tmp_path / "fresh", traces=2)
    assert sum(decoded) == PROBLEMS * len(CELLS) and same_results(tmp_path / "fresh", tmp_path / "grown")


def test_a_run_that_is_killed_while_it_grows_shows_no_results_of_the_smaller_one(tiny, tmp_path):
    folder = tmp_path / "run"
    run_sweep(sweep_of(tiny), folder, traces=2)

    def killed(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(sweep_of(tiny, problems=6), folder, traces=2, report=killed)
    assert not (folder / "rows.parquet").exists()
    run = read_run(folder)
    assert sum(record.problems for record in run.records) == PROBLEMS * len(CELLS) + 1
    run_sweep(sweep_of(tiny, problems=6), folder, traces=2)
    run_sweep(sweep_of(tiny, problems=6), tmp_path / "fresh", traces=2)
    assert same_results(tmp_path / "fresh", folder)


def test_two_processes_do_not_work_in_one_folder(whole, tiny):
    with (whole / ".lock").open("a") as file:
        lock(file, whole)
        with pytest.raises(InputError, match="another process is at work in"):
            run_sweep(sweep_of(tiny), whole, traces=2)
    run_sweep(sweep_of(tiny), whole, traces=2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[:-9], "setting.json is not a run's setting"),
        (lambda text: "[" * 100_000, "setting.json is not a run's setting"),
        (lambda text: "[]", "setting.json is not a run's setting"),
        (lambda text: text.replace('"eval"', '"train"'), "holds a run of another kind .'train', not 'eval'"),
        (lambda text: None, "is not empty and holds no run: it has no setting.json, but journal.jsonl"),
    ],
)
def test_a_folder_of_something_else_is_refused_and_not_run_over(whole, tiny, tmp_path, change, said):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    path = folder / "setting.json"
    changed = change(path.read_text())
    path.unlink() if changed is None else path.write_text(changed)
    before = files_of(folder)
    with pytest.raises(InputError, match=said) as caught:
        run_sweep(sweep_of(tiny), folder, traces=2)
    assert "\n" not in str(caught.value) and files_of(folder) == before


def test_a_damaged_line_is_done_again_never_believed_and_costs_no_other(whole, tiny, tmp_path, capfd):
    """Sixty single bits, each flipped in a folder of its own."""
    journal, draw = (whole / "journal.jsonl").read_bytes(), random.Random(20)
    for number in range(60):
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder)
        place = draw.randrange(len(journal))
        flipped = bytes([journal[place] ^ 1 << draw.randrange(8)])
        (folder / "journal.jsonl").write_bytes(journal[:place] + flipped + journal[place + 1 :])
        fresh = []
        rows = run_sweep(sweep_of(tiny), folder, traces=2, report=lambda p, fresh=fresh: fresh.append(p.batch))
        # A line break is part of two lines.
        assert 1 <= sum(fresh) <= 1 + (journal[place : place + 1] == b"\n"), place
        assert len(rows) == PROBLEMS * len(CELLS) and same_results(whole, folder)
        kept = [entry for entry, _ in read_journal(folder / "journal.jsonl")]
        assert len(kept) == PROBLEMS * len(CELLS) and all(kept)
    assert "what stood there is done again" in capfd.readouterr().err


@pytest.mark.parametrize("line", ["[]", "?", '{"row": {}}', "[" * 100_000, "9" * 5000, '{"row": {"cell": []}}'])
def test_lines_that_are_no_entries_are_left_out(whole, tiny, tmp_path, line):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    journal = folder / "journal.jsonl"
    before = journal.read_bytes()
    journal.write_bytes(line.encode() + b"\n" + before)
    run_sweep(sweep_of(tiny), folder, traces=2, report=lambda progress: pytest.fail("it decoded"))
    assert same_results(whole, folder) and journal.read_bytes() == before


def test_a_run_of_an_earlier_version_goes_on(whole, tiny, tmp_path):
    """Without digests in the journal, and without the kind of run in the setting."""
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    setting = json.loads((folder / "setting.json").read_text())
    assert setting.pop("kind") == "eval"
    (folder / "setting.json").write_text(json.dumps(setting))
    entries = [entry for entry, _ in read_journal(folder / "journal.jsonl")][:-2]
    (folder / "journal.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    fresh = []
    run_sweep(sweep_of(tiny), folder, traces=2, report=lambda progress: fresh.append(progress.batch))
    assert sum(fresh) == 2 and same_results(whole, folder)
    assert all(digested for _, digested in read_journal(folder / "journal.jsonl"))


RACE = """
import sys, time
import nap.evaluation.run as run
from nap.cli import main
sys.argv[1:] = {arguments!r}
# Both are there before either goes in.
ready, go = {ready!r}, {go!r}
work = run.run_folder
def at_once(*arguments, **options):
    open(ready, "w").close()
    import os
    while not os.path.exists(go):
        time.sleep(0.001)
    return work(*arguments, **options)
run.run_folder = at_once
main()
"""


def test_of_two_processes_with_two_settings_one_gets_the_folder(tiny, tmp_path):
    """At once, several times: the folder's setting is that of its rows."""
    folder = tmp_path / "run"
    flags = ["eval", "--models", str(tiny), "--task", "arith", "--policies", "ar", "--problems", "3", "--out"]
    started = []
    for number, pace in enumerate(("2", "4")):
        script = RACE.format(
            arguments=[*flags, str(folder), "--tokens-per-step", pace],
            ready=str(tmp_path / f"ready{number}"),
            go=str(tmp_path / "go"),
        )
        started.append(
            subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True, env=environment())
        )
    while not all((tmp_path / f"ready{number}").exists() for number in (0, 1)):
        assert all(process.poll() is None for process in started)
        time.sleep(0.01)
    (tmp_path / "go").touch()
    said = [process.communicate(timeout=120)[1] for process in started]
    assert sorted(process.returncode for process in started) == [0, 2], said
    refused = next(text for text, process in zip(said, started, strict=True) if process.returncode)
    assert "another process is at work" in refused or "another setting" in refused
    pace = json.loads((folder / "setting.json").read_text())["tokens_per_step"][0]
    assert {row["pace"] for row in read_parquet(folder / "rows.parquet")} == {f"{pace}/step"}


ROW = {"prompt": QUESTION, "answer": 8}


@pytest.mark.parametrize(
    ("rows", "changes", "said"),
    [
        ([ROW | {"id": "a"}, ROW | {"id": "a"}], {}, "2 problems of task 'jsonl' have the id 'a'"),
        ([ROW, ROW | {"prompt": "Ann has 5 plums ."}], {}, "jsonl-2: .*/tiny does not know the word 'plums'"),
        ([ROW, ROW | {"prompt": "Ann " * 120}], {}, "jsonl-2: a canvas of 144 tokens is too long .* 128 positions"),
        ([ROW], {"canvas": CanvasSpec(paths=3, path_tokens=99)}, "jsonl-1: a canvas of .* tokens is too long"),
        ([ROW], {"canvas": CanvasSpec(paths=4, path_tokens=3)}, "cannot write the tag '<think 4>'"),
        ([], {}, "task 'jsonl' has no problems in .*data.jsonl"),
        ([ROW], {"models": ("nowhere",)}, "no model 'nowhere'"),
        ([ROW], {"mask_id": 5}, "mask id 5 is not the mask token"),
        ([ROW], {"policies": ("lopa",), "cache": ("dual",)}, "policy 'lopa' needs several canvases in one forward"),
        ([ROW], {"policies": ("wino",), "guidance": 1.0}, "policy 'wino' needs leave-one-out probabilities"),
        ([ROW], {"batch_size": 0}, "batch size must be at least 1, got 0"),
        ([ROW], {"workers": 0}, "workers must be at least 1, got 0"),
        ([ROW], {"traces": -1}, "traces must be at least 0, got -1"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_written(tiny, tmp_path, rows, changes, said):
    data, folder = tmp_path / "data.jsonl", tmp_path / "run"
    data.write_text("\n".join(map(json.dumps, rows)))
    options = {name: changes.pop(name) for name in ("batch_size", "workers", "traces") if name in changes}
    with pytest.raises(InputError, match=said) as caught:
        run_sweep(sweep_of(tiny, task="jsonl", data=str(data), **changes), folder, **options)
    assert "\n" not in str(caught.value) and not folder.exists()


def test_a_run_of_a_judge_that_was_trained_again_is_refused(tiny, tmp_path):
    denoiser, judge = load(str(tiny)), tmp_path / "judge"
    for seed, refused in ((0, False), (0, False), (1, True)):
        torch.manual_seed(seed)
        save_judge(Judge(JudgeSetting(model=fingerprint(denoiser))), judge)
        sweep = sweep_of(tiny, policies=(f"learned:guide={judge}",), problems=2)
        if not refused:
            assert len(run_sweep(sweep, tmp_path / "run")) == 2
            continue
        with pytest.raises(InputError, match=r"made_of\.guides\..*judge '\w+', now '\w+'"):
            run_sweep(sweep, tmp_path / "run")


def test_a_run_grows_by_a_policy_with_a_guide_and_by_one_without(tiny, tmp_path):
    judge, said = tmp_path / "judge", list[str]()
    save_judge(Judge(JudgeSetting(model=fingerprint(load(str(tiny))))), judge)
    guided = f"learned:guide={judge}"
    for policies in (("threshold",), ("threshold", guided), ("threshold", guided, "factor"), ("factor",)):
        sweep = sweep_of(tiny, policies=policies, problems=2, tokens_per_step=(2,))
        assert len(run_sweep(sweep, tmp_path / "run", say=said.append)) == 2 * len(policies)
    assert [line for line in said if "used again" in line] == [
        "2 finished rows are used again, 2 are to do", "4 finished rows are used again, 2 are to do"
    ]  # fmt: skip


def test_a_question_without_a_canvas_of_its_own_asks_for_one(tiny, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(tiny, model)
    (model / "canvas.json").unlink()
    with pytest.raises(
        InputError, match=r"does not say what canvas it was trained on .*--canvas plain.*nap.CanvasSpec.plain\("
    ):
        run_sweep(sweep_of(model), tmp_path / "run")
    rows = run_sweep(sweep_of(model, canvas=CanvasSpec.plain(9)), tmp_path / "run")
    assert all(row.text == row.paths[0] for row in rows), "without a summary the whole text is read"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"problems": 0}, "problems must be at least 1, got 0"),
        ({"problems": 2**63}, "problems must be at most 1048576"),
        ({"skip": 2**63}, "skip must be at most 2147483648"),
        ({"models": ()}, "needs at least one of its models"),
        ({"policies": ()}, "needs at least one of its policies"),
        ({"eos": "never"}, "unknown eos setting 'never'"),
        ({"policies": ("treshold",)}, "did you mean 'threshold'"),
        ({"tokens_per_step": (0,)}, "tokens per step must be at least 1, got 0"),
        ({"steps": (0,)}, "steps must be at least 1, got 0"),
        ({"tokens_per_step": (), "steps": ()}, "policy 'ar' needs a budget"),
        ({"temperature": -1.0}, "temperature must be >= 0"),
    ],
)
def test_a_sweep_that_makes_no_sense_cannot_be_made(changes, said):
    with pytest.raises(InputError, match=said):
        sweep_of("model", **changes)


def test_a_policy_that_sets_its_own_pace_runs_once_and_no_cell_runs_twice():
    sweep = sweep_of("m", policies=("threshold", "ar", "factor", "ar"), tokens_per_step=(1, 2, 2), steps=(8,))
    names = [cell.name for cell in sweep.cells()]
    assert names == [
        "m | threshold | own",
        "m | ar | 1/step",
        "m | ar | 2/step",
        "m | ar | 8 steps",
        "m | factor | own",
    ]


# What is counted (docs/counting.md). Positions: 0 prompt, 1 header, 2-5 the path, 6 header, 7-8 the summary.

PAD, MASK, TAG = 0, 1, 3
REGION = (PROMPT, HEADER, 0, 0, 0, 0, HEADER, 1, 1)


def columns_of(*steps, forwards=None):
    """The columns of a trace from its steps: {position: token} or lists of (kind, position, token)."""
    events = []
    for number, step in enumerate(steps):
        step = [(COMMIT, position, token) for position, token in step.items()] if isinstance(step, dict) else step
        events += [Event(number, kind, position, token, 0.5) for kind, position, token in step]
    trace = Trace(
        problem_id="p", initial=(9, 8, MASK, MASK, MASK, MASK, 8, MASK, MASK), region=REGION, events=tuple(events),
        forwards=len(steps) if forwards is None else forwards, mask_id=MASK, uncounted=(PAD,),
    )  # fmt: skip
    return to_row(order_columns(trace))


COUNTED = {
    "every token counts once, headers and prompt never": (
        [{2: 5}, {3: 5, 4: 5}, {5: 5, 7: 5, 8: 5}],
        {"n_tokens": 6, "n_uncounted": 0, "forwards": 3, "n_steps": 3, "tpf": 2, "afp": 2, "global_arness@1": 13 / 18},
    ),
    "a closing tag is generated, so it counts": ([{2: 5, 3: TAG}], {"n_tokens": 2, "n_uncounted": 0}),
    "padding does not count, and lowers TPF below the budget": (
        [{2: 5, 3: TAG}, {4: PAD, 5: PAD}, {7: 5, 8: PAD}],
        {"n_tokens": 3, "n_uncounted": 3, "tpf": 1, "afp": 1.5, "n_steps": 3},
    ),
    "what padding is skipped leaves no gap in the order": (
        [{3: 5}, {2: PAD}, {4: 5}],
        {"n_tokens": 2, "global_arness@1": 1, "tau_b": 1},
    ),
    "a fill never counts, even of another token": (
        [[(COMMIT, 2, TAG), (FILL, 3, PAD), (FILL, 4, PAD), (FILL, 5, 7)]],
        {"n_tokens": 1, "n_uncounted": 3, "tpf": 1, "afp": 1},
    ),
    "a remasked position counts once, at its last commit": (
        [{2: 5, 3: 5}, [(COMMIT, 4, 5), (REMASK, 2, MASK)], {2: 5}],
        {"n_tokens": 3, "forwards": 3, "tpf": 1, "afp": 1, "global_arness@1": 1 / 3, "tau_b": -1 / 3},
    ),
    "a position that stays masked does not count": (
        [{2: 5, 3: 5}, [(COMMIT, 4, 5), (REMASK, 2, MASK)]],
        {"n_tokens": 2, "n_uncounted": 0, "tpf": 1, "afp": 1},
    ),
    "an edit does not move its position": (
        [{3: 5}, {2: 5}, [(COMMIT, 4, 5), (EDIT, 3, 6)]],
        {"n_tokens": 3, "tau_b": 1 / 3},
    ),
    "padding that is edited into a word counts": ([{2: PAD, 3: 5}, [(COMMIT, 4, 5), (EDIT, 2, 5)]], {"n_tokens": 3}),
    "a forward that commits nothing that counts is still a forward": ([{2: 5}, {3: PAD}], {"tpf": 0.5, "afp": 1}),
    "nothing counted has no metrics": ([{2: PAD}], {"n_tokens": 0, "tpf": 0, "afp": None, "global_arness@1": None}),
    "several tokens of a step have every order equally": (
        [{2: 5, 3: 5}],
        {"global_arness@1": 0.75, "global_arness@1_optimistic": 1, "global_arness@1_pessimistic": 0.5, "tau_b": None,
         "tied_share": 1, "global_arness@1_random": 0.75},
    ),
}  # fmt: skip


@pytest.mark.parametrize("rule", COUNTED)
def test_counting(rule):
    steps, expected = COUNTED[rule]
    columns = columns_of(*steps)
    assert {name: columns[name] for name in expected} == pytest.approx(expected)


def test_a_path_is_a_sequence_of_its_own_and_the_summary_is_no_path():
    """Two left-to-right streams in turn look parallel as a whole and sequential one by one."""
    events = [Event(step, COMMIT, position, 5, 1.0) for step, position in enumerate((2, 5, 3, 6, 4, 7, 10, 9))]
    region = (PROMPT, HEADER, 0, 0, 0, 1, 1, 1, HEADER, 2, 2)
    initial = tuple(MASK if code >= 0 else 9 for code in region)
    trace = Trace(problem_id="p", initial=initial, region=region, events=tuple(events), forwards=8, mask_id=MASK)
    columns = to_row(order_columns(trace))
    assert (
        columns["path_global_arness@1"] == 1 and columns["path_tau_b"] == 1 and columns["path_local_arness@1"] == 2 / 3
    )
    assert columns["global_arness@1"] == 5 / 8
    assert columns["path_global_arness@1_random"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_a_budget_counts_positions_and_a_forward_is_counted_for_each_row(whole):
    rows: list[Any] = read_parquet(whole / "rows.parquet")
    for row in rows:
        assert row["n_tokens"] + row["n_uncounted"] == SLOTS
        assert row["tpf"] == row["n_tokens"] / row["forwards"]
        assert row["forwards"] == row["n_steps"]
        if row["policy"] == "ar":
            assert row["forwards"] == {"4/step": SLOTS / 4, "3 steps": 3}[row["pace"]]


def test_the_seconds_of_a_steps_rows_add_up_to_its_wall_time():
    """Two rows share the first two steps; the longer one has the third for itself."""
    steps = [2.0, 4.0, 5.0]
    traces = [
        Trace(problem_id="", initial=(), region=(), events=(), forwards=0, mask_id=0, seconds=tuple(steps[:n]))
        for n in (2, 3, 0)
    ]
    assert shares(traces) == [3.0, 8.0, 0.0]
