"""The reference pages say what the code says, and bash completes what there is."""

import re
import shutil
import subprocess
import sys
from dataclasses import fields
from operator import attrgetter
from pathlib import Path

import pytest

from nap.decoding.policies.registry import POLICIES
from tiny import environment

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


def test_the_pages_that_are_made_from_the_code_are_in_step_with_it() -> None:
    command = [sys.executable, ROOT / "tools/reference.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr


def test_every_policy_has_an_equation_a_source_and_its_settings() -> None:
    text = (REFERENCE / "policies.md").read_text()
    for (name, policy), section in zip(POLICIES.items(), text.split("\n## ")[1:], strict=True):
        title, _, rest = section.partition("\n")
        assert title == f"`{name}`" and rest.startswith("\n```text\n") and "Source: " in rest, name
        assert all(f"| `{setting}` |" in rest for setting in map(attrgetter("name"), fields(policy))), name


def _completed(*words: str) -> list[str]:
    code = f"source {REFERENCE}/nap.bash; COMP_WORDS=({' '.join(words)!s}); COMP_CWORD={len(words) - 1}; _nap; "
    done = subprocess.run(["bash", "-c", code + "echo ${COMPREPLY[@]}"], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bash_completes_commands_and_the_flags_of_each() -> None:
    assert _completed("nap", "de") == ["decode"]
    assert _completed("nap", "decode", "--tok") == ["--tokens-per-step"]
    assert _completed("nap", "trace", "ex") == ["explain"]
    assert "--samples" in _completed("nap", "trace", "explain", "--sa")
    assert _completed("nap", "seqdep", "fi") == ["filter"]
    assert _completed("nap", "seqdep", "filter", "--max-s") == ["--max-seqdep"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_takes_the_same_file_after_the_line_that_the_page_prints(tmp_path) -> None:
    (line,) = re.findall(r"`(autoload [^`]*)`", (REFERENCE / "commands.md").read_text().replace("\n", " "))
    code = f"{line}; source {REFERENCE}/nap.bash; print $_comps[nap]"
    done = subprocess.run(["zsh", "-f", "-c", code], capture_output=True, text=True, env={"HOME": str(tmp_path)})
    assert done.stdout.strip().endswith("-F _nap"), done.stderr
