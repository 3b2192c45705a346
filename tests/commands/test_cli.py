"""The command as a person meets it: what it prints, and one clear line and exit code 2 for all that is wrong."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nap import __version__
from nap.cli import COMMANDS, main
from nap.common.files import InputError
from nap.common.text import printable
from nap.data.trace import COMMIT, FILL, HEADER, PROMPT, REMASK, Event, Trace
from nap.data.trace_files import read_traces, write_traces
from nap.report.terminal import frames
from tiny import NAP, QUESTION, disk_full_after, environment, nap

ROOT = Path(__file__).parents[2]
LEAVES = [[name, *sub] for name, c in COMMANDS.items() for sub in ([[s] for s in c] if isinstance(c, dict) else [[]])]
HOSTILE = "\x1b[2J[red]evil[/red]\n\r\x07\x9b31m\u202e"
# All that may reach a terminal of what a file or a model says.
CONTROL = re.compile(r"[^\x20-\x7e\n\u00a1-\u2027\u2030-\ud7ff]")


@pytest.fixture
def here(tmp_path, monkeypatch, tiny):
    """An empty current folder with the tiny model in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    shutil.copytree(tiny, "tiny")
    return tmp_path


@pytest.fixture
def run(here, monkeypatch, capsys):
    """Call the command in this process: (exit code, standard output, standard error)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["nap", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return call


def contents(folder):
    return {path: path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def trace_of(**changes):
    """Two paths of two positions and a summary of one, in three steps with a remask and a fill."""
    events = (
        Event(0, COMMIT, 2, 5, 0.5), Event(0, COMMIT, 6, 6, 0.75), Event(1, REMASK, 2, 0, float("nan")),
        Event(1, COMMIT, 3, 5, 1.0), Event(1, FILL, 5, 1, float("nan")), Event(2, COMMIT, 2, 6, 0.25),
        Event(2, COMMIT, 8, 5, float("nan")),
    )  # fmt: skip
    known = {
        "problem_id": "p1", "initial": (9, 8, 0, 0, 8, 0, 0, 8, 0), "events": events, "forwards": 3, "mask_id": 0,
        "region": (PROMPT, HEADER, 0, 0, HEADER, 1, 1, HEADER, 2), "uncounted": (1,), "setting": {"policy": "ar"},
        "vocabulary": {0: "<mask>", 1: "<pad>", 5: "five", 6: "six", 8: "<head>", 9: "ask"},
        "answer": "five", "correct": True,
    }  # fmt: skip
    return Trace(**known | changes)


# Help


def test_help_imports_nothing_heavy():
    command = [sys.executable, "-X", "importtime", "-c", NAP, "--help"]
    process = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in process.stderr.splitlines()}
    assert "tyro" in imported and "nap" in imported
    heavy = {"numpy", "torch", "transformers", "scipy", "pyarrow", "pandas", "matplotlib", "openai", "aiohttp"}
    assert not imported & heavy


BASE_INSTALLATION = f"""
import sys
class Absent:
    def find_spec(self, name, *rest):
        if name.partition(".")[0] in ("torch", "transformers", "scipy", "pyarrow"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
{NAP}
"""


def test_the_order_of_a_jsonl_file_needs_only_the_base_installation(here):
    (here / "orders.jsonl").write_text("[[0, 0], [1, 1]]")
    write_traces([trace_of()], "traces.jsonl")
    for arguments in ("order orders.jsonl", "order traces.jsonl --json", "trace show traces.jsonl"):
        process = nap(*arguments.split(), code=BASE_INSTALLATION)
        assert process.returncode == 0, process.stderr
    process = nap("decode", "--model", "tiny", "-p", "Ann", code=BASE_INSTALLATION)
    assert process.returncode == 2
    assert process.stderr == "nap: this needs torch, which is not installed; try: pip install 'nap-dlm[models]'\n"


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], ["trace"], ["trace", "--help"]], ids=" ".join)
def test_help_lists_every_command_in_80_columns(run, arguments):
    code, out, err = run(*arguments)
    assert code == 0 and not err
    assert max(map(len, out.splitlines())) <= 80
    names = [leaf[1:] for leaf in LEAVES if leaf[0] == "trace"] if "trace" in arguments else LEAVES
    assert re.findall(r"^  (\w+(?: \w+)*?)  +\S", out, re.M)[: len(names)] == [" ".join(name) for name in names]


@pytest.mark.parametrize("leaf", LEAVES, ids=" ".join)
def test_every_flag_is_explained_in_80_columns(run, leaf):
    code, out, err = run(*leaf, "--help")
    assert code == 0 and not err
    assert max(map(len, out.splitlines())) <= 80
    assert "None" not in out, "an empty default says nothing to a person"
    lines = re.sub(r"[│╭╮╰╯]|[─-]{3,}", "", out).partition("options")[2]
    for block in re.split(r"\n(?= {1,2}-\w| {1,2}--)", lines)[1:]:
        explained = re.sub(r"\(default:.*?\)|\(required\)|\{.*?\}|--?\w[\w-]*|[A-Z]{3,}|\W", " ", block, flags=re.S)
        assert len(explained.split()) >= 2, f"no explanation: {block}"


def test_version(run):
    assert run("--version") == (0, f"{__version__}\n", "")


def test_what_torchao_has_for_other_devices_is_not_said_by_the_command():
    said = "import logging; from nap.cli import main; main(); logging.getLogger('torchao').warning('no kernels')"
    done = subprocess.run([sys.executable, "-c", said, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{__version__}\n", "")


# decode


def test_decode_prints_each_path_the_summary_and_the_order_with_its_random_reference(run):
    code, out, err = run("decode", "--model", "tiny", "-p", QUESTION, "--tokens-per-step", "4")
    assert code == 0 and not err
    lines = out.splitlines()
    assert [line.partition(":")[0] for line in lines[:4]] == ["path 1", "path 2", "path 3", "summary"]
    number = r"-?\d+\.\d\d"
    assert re.fullmatch(
        rf"tokens \d+, forwards 6, query tokens \d+, TPF {number}, AFP {number}, tau-b {number}, "
        rf"Global-ARness@1 {number} \({number}\), within a path {number} \({number}\); in brackets: a random order",
        lines[4],
    )


def test_several_prompts_are_one_batch_and_each_is_named(run):
    code, out, _ = run("decode", "--model", "tiny", "-p", QUESTION, "How many has Ann ?", "--tokens-per-step", "9")
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("prompt")] == [
        f"prompt: {QUESTION}",
        "prompt: How many has Ann ?",
    ]


def test_decode_writes_traces_that_the_other_commands_read(run):
    assert (
        run("decode", "--model", "tiny", "-p", QUESTION, "--policy", "threshold:tau=0.3", "--out", "t.parquet")[0] == 0
    )
    assert run("trace", "convert", "t.parquet", "t.jsonl") == (0, "", "")
    assert list(read_traces("t.parquet")) == list(read_traces("t.jsonl"))
    code, out, _ = run("trace", "show", "t.jsonl")
    assert code == 0 and out.startswith("prompt-1: threshold:tau=0.3, ") and "no answer (not checked)" in out
    code, out, _ = run("order", "t.jsonl")
    assert code == 0 and out.splitlines()[1].startswith("prompt-1")


def test_an_exact_cache_changes_no_word_and_costs_less_and_another_attention_is_said(run, caplog):
    paths = ("decode", "--model", "tiny", "-p", QUESTION, "--attention", "paths")
    (code, out, _), (_, kept, _) = run(*paths), run(*paths, "--cache", "exact", "--out", "kept.jsonl")
    assert code == 0
    assert any("tiny was trained under full attention and is decoded under paths" in line for line in caplog.messages)
    assert kept.splitlines()[:-1] == out.splitlines()[:-1]
    spent = [int(re.findall(r"query tokens (\d+)", text)[0]) for text in (out, kept)]
    assert spent[1] < spent[0] / 2
    (trace,) = read_traces("kept.jsonl")
    assert (
        trace.setting["cache"] == {"name": "exact", "exact": True} and trace.setting["canvas"]["attention"] == "paths"
    )
    code, _, err = run("eval", "--models", "tiny", "--task", "arith", "--cache", "dul", "--policies", "threshold")
    assert code == 2 and "unknown cache 'dul'; did you mean 'dual'?" in err


@pytest.mark.parametrize(
    "command",
    [
        ("eval", "--tokens-per-step", "9", "--policies", "ar", "--problems", "4", "--batch-size", "1"),
        ("eval", "--probe", "paths", "--tokens-per-step", "9", "--policies", "ar", "--problems", "2"),
        ("vote", "--canvases", "1", "--problems", "2"),
    ],
    ids=["eval", "probe", "vote"],
)
def test_every_command_decodes_under_the_attention_that_is_asked_for_and_says_so_once(run, caplog, command):
    # The tiny model's slots are too short for the right paths that a probe writes there, which it says afterwards.
    code, _, err = run(*command, "--models", "tiny", "--task", "arith", "--attention", "paths")
    assert code == (2 if "--probe" in command else 0), err
    said = [line for line in caplog.messages if "tiny was trained under full attention" in line]
    assert len(said) == 1 and said[0].startswith("tiny was trained under full attention and is decoded under paths: ")


def test_live_output_through_a_pipe_is_the_frames_one_below_the_other(run):
    code, out, err = run("decode", "--model", "tiny", "-p", QUESTION, "--tokens-per-step", "9", "--live")
    assert code == 0 and out.startswith("path 1: ")
    lines = err.splitlines()
    assert [line.partition(":")[0] for line in lines if line.startswith("step")] == ["step 1", "step 2", "step 3"]
    assert max(map(len, lines)) <= 80 and not CONTROL.search(out + err)
    assert "[" in lines[2] and "·" in lines[2]
    last = next(i for i, line in enumerate(lines) if line.startswith("step 3"))
    assert re.fullmatch(r"step 3: \d written, mean probability 0\.\d\d", lines[last])
    assert "·" not in "".join(lines[last:])


def in_terminal(arguments, columns, **variables):
    """What the command sends to a terminal of so many columns."""
    import fcntl
    import pty
    import struct
    import termios

    main_end, child_end = pty.openpty()
    fcntl.ioctl(child_end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    env = environment(TERM="xterm-256color", **variables)
    process = subprocess.Popen([sys.executable, "-c", NAP, *arguments], stdout=child_end, stderr=child_end, env=env)
    os.close(child_end)
    sent = b""
    while True:
        try:
            sent += (block := os.read(main_end, 65536))
        except OSError:  # Linux: nobody has the other end any more
            break
        if not block:
            break
    os.close(main_end)
    assert process.wait() == 0, sent.decode()
    return sent.decode()


def test_on_a_terminal_of_80_columns_no_line_is_longer_and_no_color_means_none(here):
    sent = in_terminal(
        ["decode", "--model", "tiny", "-p", QUESTION, "--tokens-per-step", "9", "--live"], 80, NO_COLOR="1"
    )
    assert not re.search(r"\x1b\[(?:\d+;)*(?:3|4|9|10)\d(?:;\d+)*m", sent)
    live, _, _ = sent.partition("path 1: ")
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", live)
    assert "step 3" in drawn and max(len(line.rstrip()) for line in re.split(r"\r|\n", drawn)) <= 80


@pytest.mark.parametrize("columns", [80, 200])
def test_the_order_table_fits_its_terminal(here, columns):
    write_traces([trace_of(problem_id="problem-1")], "t.jsonl")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", in_terminal(["order", "t.jsonl"], columns)).splitlines()
    assert max(map(len, lines)) <= columns
    assert ("ARness@8" in lines[0]) == (columns == 200) == ("wider terminal" not in lines[-1])


# Hostile text


def test_hostile_text_of_a_model_is_shown_and_not_sent(run):
    words = {"many": "\x1b[2J[red]many", "has": "has[/]\x9b", "12": "[bold\u202e", "16": "a\rb"}
    text = Path("tiny/tokenizer.json").read_text()
    for word, hostile in words.items():
        assert f'"{word}":' in text
        text = text.replace(f'"{word}":', f"{json.dumps(hostile)}:")
    Path("tiny/tokenizer.json").write_text(text)
    prompt = "Ann \x1b[2J[red]many [bold\u202e"
    decode = ["decode", "--model", "tiny", "--tokens-per-step", "9", "-p", prompt]
    code, out, err = run(*decode, prompt, "--live")
    assert code == 0 and not CONTROL.search(out + err)
    assert "\\x1b[2J[red]many" in out and "\\x1b[2J[red]many" in err
    code, out, err = run(*decode, "--json")
    assert json.loads(out)["prompt"] == prompt and not CONTROL.search(out) and not err


def test_hostile_text_of_a_trace_is_shown_and_not_sent(run):
    vocabulary = dict.fromkeys((0, 1, 5, 6, 8, 9), HOSTILE)
    trace = trace_of(problem_id=HOSTILE, answer=HOSTILE, vocabulary=vocabulary, setting={"policy": [HOSTILE]})
    write_traces([trace], "t.jsonl")
    for arguments in (["trace", "show"], ["order"], ["order", "--json"]):
        code, out, err = run(*arguments, "t.jsonl")
        assert code == 0 and not err and not CONTROL.search(out)
        assert "\\x1b[2J[red]evil[/red]" in out or "\\u001b[2J[red]evil[/red]" in out


def test_hostile_text_of_a_file_is_shown_and_not_sent(run):
    Path("out.jsonl").write_text(json.dumps({"text": "4", "answer": 4, HOSTILE: HOSTILE}))
    code, out, err = run("score", "out.jsonl", "--task", "gsm8k", "--by", HOSTILE)
    assert code == 0 and not err and not CONTROL.search(out) and len(out.splitlines()) == 2
    Path("data.jsonl").write_text(json.dumps({"prompt": HOSTILE + "é\ud800", "answer": 1}))
    code, out, err = run("problems", "--task", "jsonl", "--data", "data.jsonl")
    assert code == 0 and not err and not CONTROL.search(out) and "é" in out
    assert json.loads(out)["prompt"] == HOSTILE + "é\ud800"
    Path("bad.jsonl").write_text(json.dumps({HOSTILE: 1}))
    code, out, err = run("score", "bad.jsonl", "--task", "gsm8k")
    assert code == 2 and not CONTROL.search(err) and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "shown"), [("a\nb", "a\\nb"), ("x" * 50, "x" * 39 + "…"), ("", ""), ("\x1b" * 99, "\\x1b" * 9 + "\\x1…")]
)
def test_printable(text, shown):
    assert printable(text) == shown


# order, score, problems, trace


def test_order_of_bare_orders_and_their_mean(run):
    Path("o.jsonl").write_text("[[0, 0], [1, 1], [2, 2], [3, 3]]\n\n[[0, 3], [1, 2], [2, 1], [3, 0]]\n")
    code, out, _ = run("order", "o.jsonl", "--k", "1")
    rows = [line.split() for line in out.splitlines()]
    assert code == 0 and rows[0] == [
        "id",
        "tokens",
        "steps",
        "queries",
        "TPF",
        "AFP",
        "tau-b",
        "tied",
        "ARness@1",
        "in",
        "path@1",
        "local@1",
    ]
    assert rows[1] == ["1", "4", "4", "-", "-", "1.00", "1.00", "0.00", "1.00", "(0.52)", "-", "0.75"]
    assert rows[2] == ["2", "4", "4", "-", "-", "1.00", "-1.00", "0.00", "0.25", "(0.52)", "-", "0.00"]
    assert rows[3][:8] == ["mean", "4.00", "4.00", "-", "-", "1.00", "0.00", "0.00"]
    code, out, err = run("order", "o.jsonl", "--json")
    first, second, mean = map(json.loads, out.splitlines())
    assert (code, err, first["id"], mean["id"]) == (0, "", "1", "mean")
    assert (first["tau_b"], second["tau_b"], mean["all"]["mean"]["tau_b"]) == (1, -1, 0)
    assert first["global_arness@8"] == 1


def test_order_of_traces_counts_padding_only_if_asked(run):
    write_traces([trace_of(), trace_of(problem_id="p2", correct=False)], "t.jsonl")
    plain, counted = (
        json.loads(run("order", "t.jsonl", "--json", *flag)[1].splitlines()[0]) for flag in ([], ["--count-padding"])
    )
    assert (plain["n_tokens"], plain["n_uncounted"], plain["tpf"]) == (4, 1, 4 / 3)
    assert counted["n_tokens"] == 4, "a fill was never decoded"
    means = json.loads(run("order", "t.jsonl", "--json")[1].splitlines()[-1])
    assert (means["all"]["n_traces"], means["right"]["n_traces"], means["wrong"]["n_traces"]) == (2, 1, 1)


def test_score_prints_a_table_or_one_object(run):
    rows = [
        {"text": "4", "answer": 4, "n": 1},
        {"text": "5", "answer": 4, "n": 1},
        {"text": "none", "answer": 4, "n": 2},
    ]
    Path("out.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code, out, _ = run("score", "out.jsonl", "--task", "gsm8k", "--by", "n")
    assert code == 0 and [line.split()[:2] for line in out.splitlines()[1:]] == [["1", "50.0%"], ["2", "0.0%"]]
    code, out, _ = run("score", "out.jsonl", "--task", "gsm8k", "--json")
    (group,) = json.loads(out)["groups"]
    assert (group["right"], group["rows"], group["no_answer"]) == (1, 3, 1)


def test_problems_are_a_file_of_ones_own(run):
    code, out, _ = run("problems", "--task", "arith", "--limit", "3")
    Path("own.jsonl").write_text(out)
    code, again, _ = run("problems", "--task", "jsonl", "--data", "own.jsonl", "--limit", "9")
    assert code == 0
    for one, other in zip(out.splitlines(), again.splitlines(), strict=True):
        assert [json.loads(one)[name] for name in ("id", "prompt", "answer")] == [
            json.loads(other)[name] for name in ("id", "prompt", "answer")
        ]


def test_trace_show_prints_the_canvas_after_each_step(run):
    write_traces([trace_of(problem_id="other"), trace_of(correct=False)], "t.jsonl")
    code, out, _ = run("trace", "show", "t.jsonl", "--index", "1")
    assert code == 0
    assert [line.rstrip() for line in out.splitlines()] == [
        "p1: ar, 3 forwards, answer five (wrong)",
        "step 1 of 3: 2 written, mean probability 0.62",
        " prompt │ ask",
        " path 1 │ [five] ·",
        " path 2 │ · [six]",
        "summary │ ·",
        "step 2 of 3: 1 written, 1 masked again, 1 filled, mean probability 1.00",
        " prompt │ ask",
        " path 1 │ [·] [five]",
        " path 2 │ [<pad>] six",
        "summary │ ·",
        "step 3 of 3: 2 written, mean probability 0.25",
        " prompt │ ask",
        " path 1 │ [six] five",
        " path 2 │ <pad> six",
        "summary │ [five]",
    ]
    _, only, _ = run("trace", "show", "t.jsonl", "--index", "1", "--step", "2")
    assert only.splitlines()[1:] == out.splitlines()[6:11]


def test_a_step_is_found_by_its_number_where_others_did_nothing():
    events = (Event(0, COMMIT, 2, 5, 1.0), Event(4, COMMIT, 3, 5, 1.0))
    assert [frame.step for frame in frames(trace_of(events=events))] == [0, 4]


# eval


def test_eval_prints_what_it_writes_and_with_json_nothing_else(run):
    command = [
        "eval",
        "--models",
        "tiny",
        "--task",
        "arith",
        "--problems",
        "3",
        "--tokens-per-step",
        "9",
        "--out",
        "run",
    ]
    command += ["--policies", "low_confidence", "parallel_forced"]
    process = nap(*command, "--json")
    assert process.returncode == 0 and process.stdout.count("\n") == 1
    assert json.loads(process.stdout) == json.loads(Path("run/summary.json").read_text())
    batch, first, second, last = process.stderr.splitlines()
    assert batch.startswith("tiny: batches of 16: a row takes about ")
    assert re.fullmatch(r"3/6 decoded, about \d+ s left \(tiny \| low_confidence \| 9/step\)", first)
    assert second.startswith("6/6 decoded") and last == "rows, traces and summaries are in run"
    assert sorted(path.name for path in Path("run").iterdir()) == [
        ".lock", "journal.jsonl", "rows.parquet", "seconds.parquet", "setting.json", "summary.csv", "summary.json",
        "summary.md", "traces.jsonl",
    ]  # fmt: skip
    before = contents("run")
    assert run(*command, "--markdown") == (0, Path("run/summary.md").read_text(), f"{last}\n")
    assert contents("run") == before
    lines = run(*command)[1].splitlines()
    assert lines[0].split()[:3] == ["model", "policy", "pace"] and lines[-1].startswith("- ")


# What is wrong

DECODE = ["decode", "--model", "tiny", "--prompt", QUESTION]
EVAL = ["eval", "--models", "tiny", "--task", "arith", "--problems", "2", "--policies", "ar", "--out", "run"]

OTHER = ["decode", "--model", "other", "-p", "x"]
DATA = ["eval", "--models", "tiny", "--task", "jsonl", "--data", "d.jsonl"]
SHOW = ["trace", "show", "t.jsonl"]
SCORE = ["score", "o.jsonl", "--task", "gsm8k"]


def make(name, text):
    def write():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(text) if isinstance(text, bytes) else Path(name).write_text(text)

    return write


def one_trace():
    write_traces([trace_of()], "t.jsonl")


def cut(name):
    def write():
        write_traces([trace_of(), trace_of()], name)
        Path(name).write_bytes(Path(name).read_bytes()[:-40])

    return write


def foreign(**config):
    return make("other/config.json", json.dumps(config))


def damaged():
    weights = Path("tiny/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])


WRONG = {
    "no such model": (
        ["decode", "--model", "nowhere", "-p", "x"], None,
        "no model 'nowhere': no such folder; bundled: ",
    ),
    "an empty folder": (OTHER, make("other/x", ""), "other holds no config.json"),
    "a foreign model": (OTHER, foreign(model_type="gpt2"), "unknown model_type 'gpt2'"),
    "a model that is not one": (OTHER, make("other/config.json", "{"), "is not JSON"),
    "weights that are cut": (DECODE, damaged, "is not a whole safetensors file"),
    "a model's file": (["decode", "--model", "tiny/config.json", "-p", "x"], None, "is a file; give the folder"),
    "another mask": ([*DECODE, "--mask-id", "5"], None, "mask id 5 is not the mask token of tiny"),
    "a mask outside": ([*DECODE, "--mask-id", "5000"], None, "mask id 5000 is outside the vocabulary of tiny"),
    "a tokenizer without the tags": (
        [*DECODE, "--canvas", "nap", "--paths", "4"], None,
        "cannot write the tag '<think 4>'",
    ),
    "other tags": ([*DECODE, "--canvas", "nap", "--tags", "hash"], None, "cannot write the tag '<think #1>'"),
    "a prompt that is too long": (
        ["decode", "--model", "tiny", "-p", "Ann " * 200], None,
        "prompt-1: a canvas of 224 tokens is too long for tiny, which has 128 positions",
    ),
    "a canvas that is too long": (
        [*DECODE, "--canvas", "nap"], None,
        "is too long for tiny, which has 128 positions; shorten",
    ),
    "a canvas without paths": (
        [*DECODE, "--canvas", "nap", "--paths", "0"], None,
        "canvas paths must be at least 1",
    ),
    "a nucleus of the likeliest": (
        [*DECODE, "--top-p", ".5"], None, "top_p 0.5 changes nothing at temperature 0, which takes the likeliest token",
    ),
    "the likeliest few of the likeliest": ([*EVAL, "--top-k", "5"], None, "top_k 5 changes nothing at temperature 0"),
    "a reader that nothing asks": (
        [*DECODE, "--policy", "ar", "--reads", "arith"], None,
        "reads 'arith' changes nothing under policy 'ar', which does not stop on agreement",
    ),
    "two forms of one summary": ([*EVAL, "--json", "--markdown"], None, "--json and --markdown are two forms"),
    "a mask that pairs have not": (
        ["trace", "import", "o.jsonl", "t.jsonl", "--source", "pairs", "--mask-id", "3"],
        make("o.jsonl", "[[0, 0]]"), "--mask-id changes nothing with --source pairs, which hold no tokens; drop it",
    ),
    "a prompt that pairs have not": (
        ["trace", "import", "o.jsonl", "t.jsonl", "--source", "pairs", "--prompt-tokens", "0"],
        make("o.jsonl", "[[0, 0]]"), "--prompt-tokens changes nothing with --source pairs",
    ),
    "a flag without effect": ([*DECODE, "--paths", "2"], None, "--paths changes nothing with --canvas own"),
    "an unknown word": (
        ["decode", "--model", "tiny", "-p", "Ann", "Ann has 5 plums ."], None,
        "prompt-2: tiny does not know the word 'plums'",
    ),
    "a word that is no text": (
        ["decode", "--model", "tiny", "-p", "Ann \udcff"], None,
        "prompt-1: the prompt is not valid text",
    ),
    "no prompt": (["decode", "--model", "tiny", "--prompt"], None, "there is no prompt"),
    "no steps": ([*DECODE, "--steps", "0"], None, "steps must be at least 1, got 0"),
    "no tokens": ([*DECODE, "--tokens-per-step", "0"], None, "tokens per step must be at least 1, got 0"),
    "two budgets": ([*DECODE, "--steps", "2", "--tokens-per-step", "2"], None, "tokens per step or steps, not both"),
    "a budget without effect": ([*DECODE, "--policy", "threshold", "--steps", "2"], None, "sets its own pace"),
    "an unknown policy": (
        [*DECODE, "--policy", "treshold"], None,
        "unknown policy 'treshold'; did you mean 'threshold'? all 35 are in docs/reference/policies.md",
    ),
    "an unknown setting": ([*DECODE, "--policy", "threshold:x=1"], None, "policy 'threshold' has no setting 'x'"),
    "a temperature below 0": ([*DECODE, "--temperature", "-1"], None, "temperature must be >= 0"),
    "no such device": ([*DECODE, "--device", "cuda:99"], None, "device 'cuda:99' is not usable here"),
    "an unknown dtype": ([*DECODE, "--dtype", "int3"], None, "unknown dtype 'int3'"),
    "another format of traces": (
        [*DECODE, "--out", "t.json"], None,
        "traces are written as .jsonl or .parquet, got 't.json'",
    ),
    "a trace below a file": ([*DECODE, "--out", "tiny/config.json/t.jsonl"], None, "tiny/config.json"),
    "an unknown task": (
        ["eval", "--models", "tiny", "--task", "arit", "--out", "run"], None,
        "unknown task 'arit'; did you mean 'arith'?",
    ),
    "a split that there is not": ([*EVAL, "--split", "dev"], None, "arith has no split 'dev'; known: train, test"),
    "no problems": ([*EVAL, "--problems", "0"], None, "problems must be at least 1"),
    "a bad line": (
        DATA, make("d.jsonl", f'{{"prompt": "{QUESTION}", "answer": 8}}\n{{"prompt"\n'),
        "d.jsonl:2: not JSON",
    ),
    "a line without answer": (DATA, make("d.jsonl", '\n{"prompt": "Ann"}'), "d.jsonl:2: a row needs the right answer"),
    "a task without its file": (["eval", "--models", "tiny", "--task", "jsonl"], None, "name it with --data FILE"),
    "a baseline that is not run": (
        [*EVAL, "--baseline", "tiny"], None,
        "no cell 'tiny' to compare with; there are: tiny | ar | 1/step; ",
    ),
    "a batch of none": ([*EVAL, "--batch-size", "0"], None, "batch size must be at least 1"),
    "a sweep's bad steps": ([*EVAL, "--steps", "0"], None, "steps must be at least 1, got 0"),
    "no policies": (
        ["eval", "--models", "tiny", "--task", "arith", "--policies"], None,
        "needs at least one of its policies",
    ),
    "a run's folder that is a file": ([*EVAL[:-1], "tiny/config.json"], None, "tiny/config.json"),
    "no such traces": (["order", "t.jsonl"], None, "no such file: t.jsonl"),
    "no such parquet": (["order", "t.parquet"], None, "no such file: t.parquet"),
    "a folder of traces": (["order", "tiny"], None, "tiny is a folder"),
    "an empty file": (["order", "t.jsonl"], make("t.jsonl", ""), "t.jsonl is empty; it should hold traces, or"),
    "a binary file": (["order", "t.jsonl"], make("t.jsonl", b"PK\x03\xff"), "t.jsonl is no text: this is a binary"),
    "a trace that is cut": (["order", "t.jsonl"], cut("t.jsonl"), "t.jsonl:2: not JSON"),
    "a parquet file that is cut": (["order", "t.parquet"], cut("t.parquet"), "t.parquet is not a whole Parquet file"),
    "an order that is none": (
        ["order", "t.jsonl"], make("t.jsonl", "[[0, 0]]\n[[0, -1]]"),
        "t.jsonl:2: [0, -1] is not a [position, step] pair",
    ),
    "no such k": (
        ["order", "t.jsonl", "--k", "0"], make("t.jsonl", "[[0, 0]]"),
        "k must be an integer of at least 1, got 0",
    ),
    "a trace cut for show": ([*SHOW, "--index", "1"], cut("t.jsonl"), "t.jsonl:2: not JSON"),
    "a trace too far": ([*SHOW, "--index", "2"], one_trace, "t.jsonl has no trace number 2"),
    "a trace beyond 64 bits": ([*SHOW, "--index", str(2**64)], one_trace, f"has no trace number {2**64}"),
    "a trace to explain beyond 64 bits": (
        ["trace", "explain", "t.jsonl", "--index", str(2**63)], one_trace, f"has no trace number {2**63}",
    ),
    "a seed below 0": (["trace", "explain", "t.jsonl", "--seed", "-1"], one_trace, "seed must be at least 0, got -1"),
    "one trace and several": (
        ["trace", "explain", "t.jsonl", "--index", "0", "--limit", "3"], one_trace,
        "--index is one trace and --limit 3 the first ones; drop one of them",
    ),
    "a trace before the first": ([*SHOW, "--index", "-1"], one_trace, "has no trace number -1"),
    "a step too far": ([*SHOW, "--step", "4"], one_trace, "step must be from 1 to 3, got 4"),
    "a conversion of a cut file": (
        ["trace", "convert", "t.jsonl", "u.parquet"], cut("t.jsonl"),
        "t.jsonl:2: not JSON",
    ),
    "a conversion to nothing known": (["trace", "convert", "t.jsonl", "u.csv"], one_trace, "got 'u.csv'"),
    "no outputs": (SCORE, make("o.jsonl", "\n"), "o.jsonl holds no rows to score"),
    "outputs without text": (SCORE, make("o.jsonl", '{"answer": 1}'), "o.jsonl:1: a row needs the model's text"),
    "no limit": (["problems", "--task", "arith", "--limit", "-1"], None, "limit must be at least 1, got -1"),
    "a block that no 64 bits hold": (
        [*DECODE, "--block-size", str(2**63)], None, "block_size must be at most 1000000000 (no model has more",
    ),
    "an unknown command": (
        ["decod"], None,
        "unknown command 'decod' after 'nap'; did you mean 'decode'? known: curate, decode, eval,",
    ),
    "half a command": (
        ["trace", "convrt"], None,
        "unknown command 'convrt' after 'nap trace'; did you mean 'convert'?",
    ),
    "an unknown flag": (
        [*DECODE, "--polcy", "ar"], None,
        "unrecognized options: --polcy, ar; did you mean --policy? (nap decode --help lists all)",
    ),
    "a missing flag": (["decode", "-p", "x"], None, "missing: --model (nap decode --help lists all)"),
    "two missing": (["score"], None, "missing: FILE, --task (nap score --help lists all)"),
    "a missing value": ([*DECODE, "--steps"], None, "missing value for argument '--steps'"),
    "a value that is no number": ([*DECODE, "--steps", "ten"], None, "error parsing --steps: "),
    "an unknown choice": ([*DECODE, "--canvas", "big"], None, "invalid choice 'big' for argument '--canvas'"),
    "too many files": (["order", "a", "b"], None, "unrecognized options: b"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_clear_line_with_exit_code_2_and_nothing_is_written(run, here, case):
    arguments, prepare, said = WRONG[case]
    if prepare:
        prepare()
    before = contents(here)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("nap: ") and said in line and not CONTROL.search(line)
    assert contents(here) == before and not list(here.glob("run*"))


def test_a_bug_is_not_taken_for_bad_input(run, monkeypatch):
    """Only what is the user's becomes a line; a traceback is what we need of our own."""

    def broken(*arguments):
        raise ValueError("our own")

    monkeypatch.setattr("nap.order.measure.measure_all", broken)
    Path("o.jsonl").write_text("[[0, 0]]")
    with pytest.raises(ValueError, match="our own"):
        run("order", "o.jsonl")
    assert issubclass(InputError, ValueError)


# The system


@pytest.mark.parametrize("most", [1000, 2000])
@pytest.mark.parametrize(
    "arguments",
    [
        ["decode", "--model", "tiny", "-p", QUESTION, "--tokens-per-step", "1", "--out", "out.jsonl"],
        ["trace", "convert", "t.jsonl", "out.parquet"],
        [*EVAL, "--tokens-per-step", "9", "--batch-size", "1"],
    ],
    ids=["decode", "convert", "eval"],
)
def test_a_full_disk_is_one_line_and_leaves_no_half_file(run, here, arguments, most):
    write_traces([trace_of(problem_id=f"p{os.urandom(99).hex()}") for _ in range(60)], "t.jsonl")
    with disk_full_after(most):
        code, out, err = run(*arguments)
    assert (code, out, err.splitlines()[-1]) == (2, "", "nap: cannot write: File too large")
    assert [line for line in err.splitlines()[:-1] if "decoded" not in line] == []
    assert not [*here.rglob("*.partial"), *here.glob("out.*"), *here.glob("run/*.parquet")]
    assert run(*arguments)[0] == 0, "with room on the disk the same command goes on"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["problems", "--task", "arith"], ["order", "o.jsonl"], ["--help"]])
def test_output_to_a_full_disk_is_one_line(here, arguments):
    (here / "o.jsonl").write_text("[[0, 0]]")
    with Path("/dev/full").open("w") as full:
        process = nap(*arguments, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert (process.returncode, process.stderr) == (2, "nap: cannot write: No space left on device\n")


@pytest.mark.parametrize("arguments", [["problems", "--task", "arith", "--limit", "600"], ["trace", "show", "t.jsonl"]])
def test_a_pipe_that_closes_early_is_no_error(here, arguments):
    events = tuple(Event(i, COMMIT, i, 5, 1.0) for i in range(300))
    write_traces([trace_of(initial=(0,) * 300, region=(0,) * 300, events=events)], "t.jsonl")
    command = [sys.executable, "-c", NAP, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdout and process.stderr and process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode in (0, 1)


def test_ctrl_c_exits_130_without_a_traceback_or_a_process_left(here):
    command = [sys.executable, "-c", NAP, "eval", "--models", "tiny", "--task", "arith", "--problems", "300"]
    command += ["--out", "run", "--policies", "ar", "--tokens-per-step", "1", "--batch-size", "1", "--workers", "2"]
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    # What a shell starts in the background ignores Ctrl-C, and so do its children.
    settings |= {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    journal = here / "run/journal.jsonl"
    with subprocess.Popen(command, env=environment(), **settings) as process:
        while process.poll() is None and not (journal.exists() and journal.stat().st_size):
            time.sleep(0.05)
        # As a terminal does: to the command and its workers at once.
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert all(re.match(r"\d+/300 decoded", line) for line in err.splitlines())
    with pytest.raises(ProcessLookupError):
        for _ in range(100):  # multiprocessing's own helper takes a moment to see that it is alone
            os.killpg(process.pid, 0)
            time.sleep(0.1)
    assert all(json.loads(line) for line in journal.read_text().splitlines())


def test_ctrl_c_in_one_process_exits_130_too_and_the_run_goes_on_later(run, monkeypatch):
    def interrupted(*shown):
        raise KeyboardInterrupt

    command = [*EVAL, "--tokens-per-step", "9", "--batch-size", "1"]
    with monkeypatch.context() as patch:
        patch.setattr("nap.commands.progress.Bar.show", interrupted)
        assert run(*command) == (130, "", "")
    assert Path("run/journal.jsonl").read_text().count("\n") == 1
    assert run(*command)[0] == 0


def test_a_terminal_that_cannot_show_a_character_gets_its_number(here):
    write_traces([trace_of()], "t.jsonl")
    process = nap("trace", "show", "t.jsonl", env=environment(PYTHONIOENCODING="ascii"))
    assert process.returncode == 0 and "\\u2502" in process.stdout
