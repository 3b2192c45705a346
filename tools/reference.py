"""Makes the reference pages from the code (policies, the command line, the Python interface), and bash's completion.

    python tools/reference.py             # writes docs/reference/{policies,commands,python}.md and nap.bash beside them
    python tools/reference.py --check     # names the pages that differ from the code

A policy's equation is in equations.py and its source in docs/papers.md; settings, ranges and descriptions come from the
code. tests/tools/test_reference.py checks the pages, so a new policy needs a line in both files.

Does not write any other page.
"""

import contextlib
import dataclasses
import inspect
import io
import os
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from equations import EQUATIONS

import nap
from nap.cli import COMMANDS, run
from nap.decoding.policies.registry import POLICIES

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "reference"
MADE = "<!-- made by tools/reference.py -->\n"

# What stands above each page.
POLICIES_HEAD = """# Policies

A policy says in every step which positions are written. `nap decode --policy NAME` and `nap eval --policies NAME ...`
take it by name, with settings after a colon: `threshold:tau=0.8,block=32`.

In the equations M are the masked positions of the open block (the whole canvas, unless `block` is given), q is the
budget of the step (`--tokens-per-step`, `--steps`), c_i the probability of the best token at i, H_i the entropy there;
c_(n) is the n-th largest c, H_(n) the n-th smallest H. *Paced* policies follow the budget; the others go at their own
pace. Where the published code of a policy was recorded, ours commits the same tokens in the same steps; all differences
are in [papers.md](../papers.md).
"""
COMMANDS_HEAD = """# The command line

`nap COMMAND --help` prints the same. Lists take several values after one flag; `--flag` and `--no-flag` switch. Bad
input is one line on standard error and exit code 2; with `--json` standard output holds JSON and nothing else.

**Completion.** `source docs/reference/nap.bash` in a checkout makes bash complete commands, flags and file names; zsh
reads the same file after `autoload -U compinit bashcompinit && compinit && bashcompinit`.
"""
PYTHON_HEAD = """# The Python front door

`import nap` costs a few milliseconds and imports neither numpy nor torch. The names below are the stable ones
([CHANGELOG](../../CHANGELOG.md)); every example runs as a test. What is not here may change between versions.
"""


def policies_page() -> str:
    """Every policy: its equation, what it does in words, its settings, and where it is from."""
    sources = _sources()
    return MADE + POLICIES_HEAD + "".join(_policy(name, policy, sources) for name, policy in POLICIES.items())


def _policy(name: str, policy: type, sources: dict[str, str]) -> str:
    if name not in EQUATIONS or name not in sources:
        raise SystemExit(f"policy {name!r} needs an equation in tools/equations.py and a row in docs/papers.md")
    words = inspect.cleandoc(policy.__doc__ or "")
    settings = [_setting(field, policy) for field in dataclasses.fields(policy)]
    paced = "Paced." if vars(policy).get("paced", getattr(policy, "paced", False)) else "At its own pace."
    table = "\n".join(
        ["| setting | default | range |", "|---|---|---|", *settings] if settings else ["It has no settings."]
    )
    rule = f"```text\n{EQUATIONS[name].strip()}\n```"
    return f"\n## `{name}`\n\n{rule}\n\n{_paragraphs(words)}\n\n{paced} Source: {sources[name]}.\n\n{table}\n"


def _setting(field: "dataclasses.Field[Any]", policy: type) -> str:
    default = "needed" if field.default is dataclasses.MISSING else "none" if field.default is None else field.default
    known = getattr(policy, "ranges", {}).get(field.name)
    choices = re.findall(r"'(\w+)'", str(field.type)) if "Literal" in str(field.type) else []
    range_ = " or ".join(choices) if choices else _range(known) if known else ""
    return f"| `{field.name}` | {default} | {range_} |"


def _range(known: Any) -> str:
    low = f"above {known.low:g}" if known.above else f"{known.low:g} or more"
    return low if known.high == float("inf") else f"{low}, at most {known.high:g}"


def _paragraphs(words: str) -> str:
    """A docstring as Markdown: lines that explain one name become items."""
    lines = [re.sub(r"^(\w+(?:, \w+)*)  +", r"- `\1`: ", line) for line in words.splitlines()]
    text = "\n".join(lines)
    return re.sub(r"(?<!\n)\n(- `)", r"\n\n\1", text, count=1).replace("*", r"\*")


def _sources() -> dict[str, str]:
    """The third column of docs/papers.md for each name in its first."""
    found = {}
    for line in (ROOT / "docs" / "papers.md").read_text().splitlines():
        if line.startswith("| `"):
            names, _, source, *_ = re.split(r"(?<!\\)\|", line.strip("| "))
            found = dict.fromkeys(re.findall(r"`(\w+)`", names), source.strip()) | found
    return found


def commands_page() -> str:
    """Every command with its flags, as `--help` has them."""
    return MADE + COMMANDS_HEAD + "".join(_command(name, made) for name, made in _leaves())


def _leaves() -> Iterator[tuple[str, Any]]:
    for name, command in COMMANDS.items():
        if isinstance(command, dict):
            yield from ((f"{name} {sub}", made) for sub, made in command.items())
        else:
            yield name, command


def _command(name: str, made: Any) -> str:
    words = inspect.cleandoc(made.__doc__ or "")
    return f"\n## `nap {name}`\n\n{words}\n" + "".join(_group(*group) for group in _groups(_help(name)))


def _help(name: str) -> str:
    said = io.StringIO()
    os.environ["COLUMNS"] = "100"  # wider ones have parts side by side
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        run([*name.split(), "--help"])
    return said.getvalue()


def _groups(text: str) -> Iterator[tuple[str, list[str]]]:
    """(title, lines) of each part of a help text."""
    for title, body in re.findall(r"^ (\w.*?) *\n -{9,} *\n(.*?)(?=^ \w|\Z)", text, re.M | re.S):
        yield title, [line[2:].rstrip() for line in body.splitlines() if set(line) - set("- ")]


def _group(title: str, lines: list[str]) -> str:
    flags: list[list[str]] = []
    said = []
    for line in lines:
        words = re.split(r"  +", line, maxsplit=1)
        if re.match(r"-|[A-Z]{2,}(?:\W|$)", line):
            flags.append([words[0], words[1] if len(words) > 1 else ""])
        elif flags:
            flags[-1][1] = f"{flags[-1][1]} {line.strip()}".strip()
        else:
            said.append(line)
    rows = [f"| `{flag}` | {_cell(what)} |" for flag, what in flags if "--help" not in flag]
    if not rows:
        return ""
    own = title in ("options", "positional arguments")
    head = "" if own else f"\n**{title.removesuffix(' options').capitalize()}.** {' '.join(said)}\n"
    return head + "\n| flag | what it says |\n|---|---|\n" + "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return re.sub(r" *\(default: \)", "", text).replace("|", "\\|").replace("<", "&lt;").replace("*", r"\*")


def python_page() -> str:
    """Every name of `nap.__all__`: how it is called, and its docstring."""
    return MADE + PYTHON_HEAD + "".join(_name(name) for name in nap.__all__ if name != "__version__")


def _name(name: str) -> str:
    home = nap._CALLED.get(name)
    made = getattr(import_module(f"nap.{home}") if home else nap, name)
    called = "" if inspect.isclass(made) else _signature(name, made)
    return f"\n## `nap.{name}`\n\n{called}{_docstring(inspect.getdoc(made) or '')}" + _methods(name, made)


def _signature(name: str, made: Any) -> str:
    said = re.sub(r"<function .*? at 0x\w+>", "...", str(inspect.signature(made)))
    said = re.sub(r"(?:nap|os|collections|data)[.][a-z_.]+[.]", "", said)
    return f"```text\nnap.{name}{said}\n```\n\n"


def _methods(name: str, made: Any) -> str:
    if not inspect.isclass(made) or issubclass(made, Exception):
        return ""
    public = [(key, value) for key, value in vars(made).items() if not key.startswith("_") and inspect.getdoc(value)]
    items = [
        f"- `.{key}{'' if isinstance(value, property) else '()'}`: {(inspect.getdoc(value) or '').splitlines()[0]}"
        for key, value in public
        if inspect.isfunction(value) or isinstance(value, property | classmethod)
    ]
    return "\n" + "\n".join(items) + "\n" if items else ""


def _docstring(text: str) -> str:
    """A docstring as Markdown: its examples as code, its tables of names as text."""
    parts, kind, lines = [], "", []
    for line in [*text.splitlines(), ""]:
        now = _kind(line, kind)
        if now != kind and lines:
            parts.append((kind, lines))
            lines = []
        kind = now
        lines.append(line)
    parts.append((kind, lines))
    return "\n".join(_part(kind, [*lines]) for kind, lines in parts)


def _kind(line: str, before: str) -> str:
    if line.startswith(">>>") or (before == "code" and line):
        return "code"
    table = re.match(r"\w+(?:, \w+)*  +\S", line) or (before == "table" and line.startswith("    "))
    return "table" if table else ""


def _part(kind: str, lines: list[str]) -> str:
    text = "\n".join(lines).strip("\n")
    if not text:
        return ""
    return f"```{'pycon' if kind == 'code' else 'text'}\n{text}\n```\n" if kind else text.replace("*", r"\*") + "\n"


def completion() -> str:
    """A bash script that completes commands, their flags and file names."""
    leaves = [name for name, _ in _leaves()]
    cases = [f'        "{name}") words="{" ".join(_flags(name))}" ;;' for name in leaves]
    first = " ".join(dict.fromkeys(name.split()[0] for name in leaves))
    return "\n".join(
        [
            "# Completion of `nap` for bash (made by tools/reference.py): source docs/reference/nap.bash",
            "_nap() {",
            '    local here=${COMP_WORDS[COMP_CWORD]} name="${COMP_WORDS[1]}" words=""',
            '    case "$name ${COMP_WORDS[2]}" in "trace "*|"seqdep filter") name="$name ${COMP_WORDS[2]}" ;; esac',
            '    case "$name" in',
            *cases,
            "    esac",
            f'    [[ $COMP_CWORD == 1 ]] && words="{first} --help --version"',
            '    [[ $COMP_CWORD == 2 && ${COMP_WORDS[1]} == trace ]] && words="show explain convert import"',
            '    [[ $COMP_CWORD == 2 && ${COMP_WORDS[1]} == seqdep ]] && words="filter $words"',
            '    COMPREPLY=($(compgen -W "$words" -- "$here"))',
            "}",
            "complete -o default -F _nap nap\n",
        ]
    )


def _flags(name: str) -> list[str]:
    """The long flags of a command."""
    flags = [line.split("  ")[0] for _, lines in _groups(_help(name)) for line in lines if line.startswith("-")]
    return [flag for line in flags for flag in re.findall(r"--[a-z][\w-]*", line)]


PAGES = {
    "policies.md": policies_page, "commands.md": commands_page, "python.md": python_page, "nap.bash": completion,
}  # fmt: skip


def main() -> None:
    """Write the pages, or with --check name those that are out of step and exit with 1."""
    stale = []
    for name, made in PAGES.items():
        file = FOLDER / name
        if "--check" in sys.argv[1:]:
            stale += [] if file.exists() and file.read_text() == made() else [str(file.relative_to(ROOT))]
        else:
            file.write_text(made())
    if stale:
        raise SystemExit(f"out of step with the code: {', '.join(stale)}; run: python tools/reference.py")


if __name__ == "__main__":
    main()
