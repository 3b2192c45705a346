"""Control characters in every text of every file, in names, flags and a server's words: none reaches a terminal raw.

One of each format is made once (tests/campaign/formats.py); each of its texts in turn, keys included, is given escapes,
and a command that reads it runs in this process. What it prints, through Python's streams or past them, is looked at.

Does not try other damage; the campaign does.
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "campaign"))

import formats
import mutate
import trial
from formats import EVAL, FORMATS, TRAIN, Format

from nap.cli import main
from stub_teacher import Raw, stub
from tiny import QUESTION

ESCAPES = mutate.ESCAPES
# Of the commands that read a format those that take no second: the others print no more of it.
SLOW = ("train", "eval", "curate", "decode")
QUICK = {
    "samples": ["seqdep samples.parquet --scorer causal"],
    "solutions": [one for one in formats.commands_of("solutions")],
    "a run's summary": ["report run -o out.html"],
    "a run's results": ["report run -o out.html"],
    "a training's files": [f"{TRAIN} --out trained"],
    "a checkpoint's texts": ["decode --model model --prompt pears"],
    "an adapter's setting": ["decode --model adapter --prompt pears"],
    "a curated set's card": [*formats.commands_of("a curated")],
}
Said = tuple[int, str, str]
Nap = Callable[..., Said]


def quick(chosen: Format) -> list[str]:
    return QUICK.get(chosen.name) or [one for one in chosen.commands if one.split()[0] not in SLOW]


@pytest.fixture
def nap(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Nap:
    """A command: its exit code, and what it printed."""

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["nap", *arguments])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial, "run", in_process)
        formats.make(folder)
    yield folder


def in_process(arguments: list[str], *, folder: Path) -> trial.Outcome:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["nap", *arguments])
        patch.chdir(folder)
        main()
    return trial.Outcome(code=0, out="", err="", seconds=0, megabytes=0)


@pytest.fixture
def place(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(whole, tmp_path / "all")
    monkeypatch.chdir(tmp_path / "all")
    return tmp_path / "all"


def check(said: Said, what: str) -> None:
    code, out, err = said
    assert code in (0, 2), f"{what}: exit code {code}\n{err[-2000:]}"
    for text in (out, err):
        raw = [character for character in set(text) if not (character.isprintable() or character == "\n")]
        assert not raw, f"{what}: {raw} in {text[-500:]!a}"


@pytest.mark.parametrize(
    "chosen", [one for one in FORMATS if one.changes in mutate.TEXTS], ids=lambda one: one.name.replace(" ", "-")
)
def test_no_text_of_a_file_moves_a_cursor(chosen: Format, place: Path, nap: Nap) -> None:
    commands, tried = quick(chosen), 0
    for file in chosen.files:
        kept = (place / file).read_bytes()
        for number, data in enumerate(mutate.injections(kept, chosen.changes)):
            (place / file).write_bytes(data)
            command = commands[number % len(commands)]
            check(nap(*command.split()), f"injection {number} of {file}: nap {command}")
            assert not any(mutate.SCRIPT in page.read_text() for page in place.glob("*.html"))
            shutil.rmtree(place / "new", ignore_errors=True)
            tried += 1
        (place / file).write_bytes(kept)
    assert tried or chosen.name in ("bare orders", "records of other systems")


@pytest.mark.parametrize(
    "text", ["{{ raise_exception('%s') }}", "%s{%% for m in messages %%}{{ m.content }}{%% endfor %%}"]
)
def test_no_chat_template_moves_a_cursor(place: Path, nap: Nap, text: str) -> None:
    (place / "model" / "chat_template.jinja").write_text(text % ESCAPES)
    check(nap("decode", "--model", "model", "--prompt", "pears"), "a chat template")


def test_no_name_and_no_flag_moves_a_cursor(place: Path, nap: Nap) -> None:
    name = ESCAPES.replace("\r", "")
    names = {file: f"{Path(file).parent / name}{Path(file).suffix}" for one in FORMATS for file in one.files}
    for chosen in FORMATS:
        for file in chosen.files:
            if "/" in file or file not in quick(chosen)[0].split():
                continue
            command = [names.get(word, word) for word in quick(chosen)[0].split()]
            check(nap(*command), f"absent: {command}")
            shutil.copy(place / file, place / names[file])
            check(nap(*command), f"there: {command}")
            (place / names[file]).write_bytes(b'{"x": [\n' * 2)
            check(nap(*command), f"damaged: {command}")
    for folder in ("model", "run", "adapter"):
        shutil.copytree(place / folder, place / f"{folder}{name}")
    for command in (
        ["decode", "--model", f"model{name}", "--prompt", QUESTION + ESCAPES], ["decode", "--model", name],
        ["decode", "--model", f"adapter{name}", "--prompt", "x"], ["report", f"run{name}", "--out", f"{name}.html"],
        [*EVAL.split(), "--out", f"run{name}"], ["order", "traces.jsonl", "--k", name], [name], ["order", f"--{name}"],
        ["decode", "--model", "model", "--prompt", "x", "--policy", name], ["eval", "--task", name, "--out", "new"],
        ["trace", "show", "traces.jsonl", "--problem", name], ["report", "run", "--out", "new.html", "--title", name],
        ["score", "outputs.jsonl", "--task", "jsonl", "--by", name], ["doctor", f"model{name}"],
    ):  # fmt: skip
        check(nap(*command), f"{command}")


@pytest.mark.parametrize(
    "reply",
    [f"{ESCAPES} so \\boxed{{5}}", Raw(400, ESCAPES.encode()), Raw(200, ESCAPES.encode()), Raw(500, ESCAPES.encode()),
     Raw(302, b"", ("Location: http://\x1b[2J.example/",))],
    ids=["a text", "a refusal", "no JSON", "a fault", "another host"],
)  # fmt: skip
def test_no_reply_of_a_teacher_moves_a_cursor(place: Path, nap: Nap, reply: str | Raw) -> None:
    with stub(answer=lambda body, number: reply) as server:
        command = "curate --task jsonl --data problems.jsonl --model m --paths 2 --retries 0 --timeout 5 --out new"
        check(nap(*command.split(), "--teacher", server.url), "a reply")
