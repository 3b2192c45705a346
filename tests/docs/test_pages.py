"""Every block of shell and Python in the documentation runs, or says what it needs that a laptop has not."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pages import PAGES, REASONS, ROOT, Block, blocks_of, run_page, script_of
from sandbox import lay_out, programs, record

from nap.cli import COMMANDS, _parse, joined
from nap.models.families import FAMILIES, UNSUPPORTED

RUN = [name for name in PAGES if any(block.runs for block in blocks_of((ROOT / name).read_text()))]

# These pages make the run that the others speak of.
MAKES_RUNS_MINE = ("README.md", "docs/tutorials/checkpoint.md")


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """(a folder with the files that the pages speak of, the environment in which `nap` is this installation's)."""
    folder = tmp_path_factory.mktemp("documentation")
    (folder / "checkout").mkdir()
    lay_out(folder / "checkout")
    record(folder / "checkout")
    return folder / "checkout", programs(folder / "bin")


@pytest.mark.parametrize("name", RUN)
def test_a_page_can_be_followed_from_its_first_block_to_its_last(name: str, laid, tmp_path: Path) -> None:
    folder, env = laid
    here = shutil.copytree(folder, tmp_path / "checkout", symlinks=True)
    if name not in MAKES_RUNS_MINE:
        (here / "runs").mkdir()
        shutil.move(here / "run", here / "runs/mine")
    done = run_page(name, here, env)
    assert done.returncode == 0, f"{name}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


@pytest.mark.parametrize("quota", range(1, 8))
@pytest.mark.parametrize("open_now", range(1, 8))
def test_the_decoder_of_the_page_writes_as_many_as_the_budget_asks_for(open_now: int, quota: int) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    exec(blocks_of((ROOT / "docs/how-to/decoder.md").read_text())[0].code.partition("result =")[0], names)
    position_N = np.arange(open_now)
    view = SimpleNamespace(position_N=position_N, probability_N=position_N % 3 / 3, quota=quota)
    assert len({*names["Halves"]().select(view).tolist()}) == min(quota, open_now)


def test_the_page_on_checkpoints_has_every_family_that_opens_and_every_one_that_is_refused_with_why() -> None:
    text = (ROOT / "docs/how-to/checkpoint.md").read_text()
    opens, refused = (text[text.index(head) :].partition("\n\n")[0] for head in ("| opens |", "| does not open |"))
    assert {*re.findall(r"`([^`]+)`", opens)} == {"model_type", *FAMILIES}
    for said in UNSUPPORTED.values():
        name, why = re.findall(r"^(.+?) is not supported yet \((.+?)\);", said)[0]
        row = next((line for line in refused.splitlines() if name in line), "")
        assert why in row, f"{name}: {why}"


@pytest.mark.parametrize("name", PAGES)
def test_a_block_that_is_not_run_says_what_it_needs(name: str) -> None:
    for block in blocks_of((ROOT / name).read_text()):
        assert block.runs or block.said in REASONS, f"{name}:{block.line}: {block.said!r} is none of {REASONS}"


@pytest.mark.parametrize("name", PAGES)
def test_every_command_in_the_documentation_has_the_flags_that_it_uses(name: str) -> None:
    for block in blocks_of((ROOT / name).read_text()):
        for words in _commands(block):
            command, arguments = COMMANDS, joined(words)
            while isinstance(command, dict):
                command, arguments = command[arguments[0]], arguments[1:]
            _parse(command, "nap", arguments)


def _commands(block: Block) -> list[list[str]]:
    """The words behind `nap` of each line that calls it with flags; what a pipe or a redirection takes is left out."""
    if block.language != "sh":
        return []
    lines = [line for line in block.code.replace("\\\n", " ").splitlines() if line.startswith("nap ")]
    split = [shlex.split(line, comments=True)[1:] for line in lines]
    cut = [words[: next((i for i, word in enumerate(words) if word in ("|", ">", "&&", "&")), None)] for words in split]
    return [words for words in cut if words and "--help" not in words]


# What the finder itself promises.


def test_fenced_and_indented_blocks_are_found_with_what_stands_above_them() -> None:
    text = (
        "    nap doctor\n\ntext\n    no block\n\n<!-- not run: a GPU -->\n```sh\nnap report\n```\n\n    a table\n\n"
        "1. item\n   ```python\n   x = 1\n   ```\n\n<!-- run with: 1 for 50; a for b -->\n"
        "    nap eval 50 \\\n        b\n"
    )
    first, second, third, last = blocks_of(text)
    assert (first.code, first.line, first.runs) == ("nap doctor\n", 1, True)
    assert (second.code, second.runs, second.said) == ("nap report\n", False, "a GPU")
    assert (third.language, third.code) == ("python", "x = 1\n")
    assert last.tested == "nap eval 1 \\\n    a\n"
    with pytest.raises(ValueError, match="line 1: there is no 'x' to replace"):
        _ = Block(line=1, language="sh", code="y", mark="run with", said="z for x").tested


def test_a_block_that_fails_ends_the_page_and_is_named(tmp_path: Path) -> None:
    codes = enumerate(("true\n", "false\n", "echo on\n"))
    script = script_of([Block(line=line, language="sh", code=code) for line, code in codes])
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "failed in the block at line 1\n")
