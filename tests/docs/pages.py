"""The pages of the documentation and the blocks of code in them, and how a page is run from top to bottom.

A block of shell or Python runs in a test unless a comment stands above it:

    <!-- not run: a GPU -->                                  the reason is one of REASONS
    <!-- run with: --problems 2 for --problems 50 -->        the same with other words, to save time

Does not judge what a page says.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", *(str(p.relative_to(ROOT)) for p in sorted((ROOT / "docs").rglob("*.md")))]
# Why a laptop without network does not run a block.
REASONS = ("a GPU", "a cluster", "the hub", "a server", "the network", "minutes", "hours", "a form")
# What an indented block of shell begins with; other indented blocks are text.
COMMANDS = r"(?:nap|python|pip|make|torchrun|accelerate|hf|cat|cp|curl|kill|eval|[A-Z_]+=\S+) "
MARK = re.compile(r"<!-- (not run|run with): (.*?) -->")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block of code: where it starts, in which language, and what its comment says."""

    line: int
    language: str
    code: str
    mark: str = ""
    said: str = ""

    @property
    def runs(self) -> bool:
        """Whether a test runs it."""
        return self.mark != "not run"

    @property
    def tested(self) -> str:
        """The code with the words that its comment puts in place of others. Raises ValueError where they are absent."""
        code = self.code
        for change in self.said.split("; ") if self.mark == "run with" else []:
            new, _, old = change.partition(" for ")
            if old not in code:
                raise ValueError(f"line {self.line}: there is no {old!r} to replace")
            code = code.replace(old, new)
        return code


def blocks_of(text: str) -> list[Block]:
    """The shell and Python blocks of a page, in its order."""
    found: list[Block] = []
    lines, at = text.splitlines(), 0
    while at < len(lines):
        start, language, code, at = at + 1, *_block(lines, at)
        if language:
            above = next((line for line in reversed(lines[: start - 1]) if line.strip()), "")
            mark = MARK.fullmatch(above.strip())
            found.append(
                Block(
                    line=start, language=language, code=code, mark=mark[1] if mark else "", said=mark[2] if mark else ""
                )
            )
    return found


def _block(lines: list[str], at: int) -> tuple[str, str, int]:
    """(language, code, the line after it) of what starts at a line; no language where no block does."""
    if fence := re.match(r"( *)```(\w*)", lines[at]):
        end = next((i for i in range(at + 1, len(lines)) if lines[i].strip() == "```"), len(lines))
        code = "\n".join(line.removeprefix(fence[1]) for line in lines[at + 1 : end]) + "\n"
        return (fence[2] if fence[2] in ("sh", "python") else ""), code, end + 1
    if lines[at].startswith("    ") and not (at and lines[at - 1].strip() and not MARK.search(lines[at - 1])):
        end = next(
            (i for i in range(at, len(lines)) if lines[i].strip() and not lines[i].startswith("    ")), len(lines)
        )
        code = "\n".join(line[4:] for line in lines[at:end]).rstrip() + "\n"
        return ("sh" if re.match(COMMANDS, code) else ""), code, end
    return "", "", at + 1


def script_of(blocks: list[Block]) -> str:
    """One bash script that runs the blocks in turn and says, where one fails, in which line of the page it began."""
    parts = ["set -euo pipefail"]
    for block in blocks:
        parts += [f"trap 'echo failed in the block at line {block.line} >&2' EXIT"]
        parts += [block.tested if block.language == "sh" else f"python - <<'END-OF-BLOCK'\n{block.tested}END-OF-BLOCK"]
    return "\n".join([*parts, "trap - EXIT"]) + "\n"


def run_page(name: str, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a page's blocks in a folder, as somebody would who follows it in a checkout."""
    script = script_of([block for block in blocks_of((ROOT / name).read_text()) if block.runs])
    return subprocess.run(["bash", "-c", script], cwd=folder, env=env, capture_output=True, text=True, timeout=900)
