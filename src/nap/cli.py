"""The command `nap`: which command, its flags, and how it ends.

With `--json` standard output holds JSON and nothing else; progress goes to standard error. Bad input is one line on
standard error and exit code 2.
"""

import io
import logging
import os
import re
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from inspect import cleandoc
from typing import Protocol

import tyro

from nap import __version__
from nap.commands.anticipate import Anticipate
from nap.commands.curate import Curate
from nap.commands.decode import Decode
from nap.commands.doctor import Doctor
from nap.commands.evaluate import Eval
from nap.commands.leaderboard import LeaderboardCommand
from nap.commands.order import OrderCommand
from nap.commands.report import ReportCommand
from nap.commands.seqdep import Seqdep, SeqdepFilter
from nap.commands.serve import Serve
from nap.commands.tasks import Problems, Score
from nap.commands.trace import TraceConvert, TraceExplain, TraceImport, TraceShow
from nap.commands.train import Train
from nap.commands.vote import VoteCommand
from nap.common.files import InputError
from nap.common.memory import keep_memory
from nap.common.terminal import guarded, plain
from nap.common.text import did_you_mean, printable
from nap.models.int8 import CHATTY


class Runs(Protocol):
    """A command: a frozen dataclass of its flags."""

    def run(self) -> None:
        """Do it."""


Command = type[Runs]

# Packages that the extra `models` installs; the base installation has none of them.
MODELS_EXTRA = ("torch", "transformers", "safetensors", "tokenizers", "huggingface_hub", "pyarrow", "scipy")

COMMANDS: dict[str, Command | dict[str, Command]] = {
    "curate": Curate,
    "decode": Decode,
    "eval": Eval,
    "doctor": Doctor,
    "leaderboard": LeaderboardCommand,
    "order": OrderCommand,
    "report": ReportCommand,
    "score": Score,
    "serve": Serve,
    "seqdep": Seqdep,
    "seqdep filter": SeqdepFilter,
    "anticipate": Anticipate,
    "problems": Problems,
    "train": Train,
    "vote": VoteCommand,
    "trace": {"show": TraceShow, "explain": TraceExplain, "convert": TraceConvert, "import": TraceImport},
}


# Five lines for somebody who has never seen it.
WELCOME = """Does a diffusion language model decode in parallel, and at what cost?
    nap doctor                              what this machine can do
    nap decode --model arith-nap --live -p "Ann has 2 keys . How many has Ann ?"
    nap eval --models arith-nap --task arith --problems 20 --out runs/first
    nap report runs/first -o report.html    one page; open it in a browser
"""


def _help(known: Mapping[str, Command | dict[str, Command]], name: str) -> str:
    lines = [f"usage: {name} COMMAND [flags]; {name} COMMAND --help lists them", ""]
    for key, command in known.items():
        parts = {f"{key} {sub}": c for sub, c in command.items()} if isinstance(command, dict) else {key: command}
        lines += [f"  {full:<14} {(c.__doc__ or '').splitlines()[0]}" for full, c in parts.items()]
    return "\n".join([*lines, "", "  nap --version  prints the version"])


def joined(arguments: list[str]) -> list[str]:
    """The arguments with a command of two words as one: `nap seqdep` and `nap seqdep filter` are both commands."""
    pair = " ".join(arguments[:2])
    return [pair, *arguments[2:]] if pair in COMMANDS else arguments


def _parse(command: Command, name: str, arguments: list[str]) -> Runs:
    """The command with its flags. Raises InputError for flags that are wrong, in one line where tyro draws a box."""
    said = io.StringIO()
    try:
        # Help has colours of its own, and nothing in it that is not ours.
        with redirect_stderr(said), redirect_stdout(plain(sys.stdout)):
            return tyro.cli(command, args=arguments, prog=name, description=cleandoc(command.__doc__ or ""))
    except SystemExit as stop:
        if not stop.code:
            raise
    raise InputError(f"{_in_one_line(said.getvalue())} ({name} --help lists all)")


def _in_one_line(box: str) -> str:
    """What tyro's box of an error says: its title, what is wrong, and after a rule what was perhaps meant."""
    text = re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯]", "", box)
    # Without Unicode its lines are hyphens, and its sides are not there.
    what, *rest = [part for part in re.split("[─-]{5,}", text) if part.strip()][1:] or [text]
    if what.split()[0] == "Missing" and (
        flags := re.findall(r"^ {5,6}(?:--?[\w-]+ .*, )?(--[\w-]+|[A-Z]+)\b", what, re.M)
    ):
        return f"missing: {', '.join(flags)}"
    what = " ".join(what.split()).partition(" Got errors:")[0].replace("{None}|", "").rstrip(".")
    meant = re.search(r"Perhaps you meant:\s+(?:\S+, )*(--[\w-]+)", " ".join(rest))
    return f"{what[:1].lower()}{what[1:]}{f'; did you mean {meant[1]}?' if meant else ''}"


def run(arguments: list[str]) -> None:
    """Run one command. Raises InputError for bad input."""
    if arguments[:1] == ["--version"]:
        print(__version__)
        return
    known, name, arguments = COMMANDS, "nap", joined(arguments)
    while isinstance(known, dict):
        if not arguments or arguments[0] in ("-h", "--help"):
            print(*[WELCOME] * (name == "nap" and not arguments), _help(known, name), sep="\n")
            return
        if arguments[0] not in known:
            hint = did_you_mean(arguments[0], known)
            raise InputError(f"unknown command {arguments[0]!r} after {name!r}{hint} known: {', '.join(known)}")
        name, known, arguments = f"{name} {arguments[0]}", known[arguments[0]], arguments[1:]
    _parse(known, name, arguments).run()


def main() -> None:
    """Entry point: bad input and a full disk are one line and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for a terminal that cannot show it
    keep_memory()
    # transformers imports torchao where it is installed, whatever the command.
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    with guarded():
        _main()


def _main() -> None:
    try:
        run(sys.argv[1:])
        sys.stdout.flush()
    except InputError as error:
        code = _fail(str(error))
    except BrokenPipeError:
        code = 0  # Whoever read our output has gone.
    except OSError as error:
        reason = error.strerror or str(error)
        code = _fail(f"{reason}: {error.filename}" if error.filename else f"cannot write: {reason}")
    except ModuleNotFoundError as error:
        if (missing := (error.name or "").partition(".")[0]) not in MODELS_EXTRA:
            raise
        code = _fail(f"this needs {missing}, which is not installed; try: pip install 'nap-dlm[models]'")
    except KeyboardInterrupt:
        code = 130
    except BaseException as error:
        # A library in Rust (tokenizers, safetensors) that meets what it never expected: no Exception, and not ours.
        if type(error).__name__ != "PanicException":
            raise
        code = _fail(f"a model's files made another library fail ({printable(str(error), 300)})")
    else:
        return
    try:
        sys.stdout.flush()
    except OSError:
        # What could not be written will not be; the interpreter would try again, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _fail(message: str) -> int:
    print(f"nap: {' '.join(message.split())}", file=sys.stderr)
    return 2
