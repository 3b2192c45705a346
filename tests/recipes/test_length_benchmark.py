"""The benchmark of cost against length counts what attention must do, and what it draws has exponents."""

import json
import subprocess
import sys

import pytest

from tiny import RECIPES

SCRIPT = str(RECIPES.parent / "benchmarks/length.py")


def test_pairs_of_independent_paths_grow_with_their_number_and_under_full_attention_with_its_square(tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "length.svg"
    command = [sys.executable, SCRIPT, "--paths", "2", "4", "8", "--tokens", "64", "--steps", "4", "--json"]
    done = subprocess.run(
        [*command, "--figure", str(picture)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    rows = {(row["way"], row["paths"], row["canvas"]): row for row in found if "paths" in row}
    whole, apart = rows["full attention", 4, 256], rows["paths, exact cache", 4, 256]
    length = 64 + 256 + 32
    assert (whole["query_tokens"], whole["pairs"]) == (4 * length, 4 * length**2)
    assert apart["forwards"] == whole["forwards"] == 4
    assert apart["query_tokens"] == 64 + 4 * 256, "the prompt once, the paths in every forward"
    assert apart["pairs"] == 64 * 64 + 4 * 256 * (64 + 64)
    exponents = {(row["grows"], row["way"]): row["exponents"] for row in found if "grows" in row}
    assert exponents["more paths", "paths, exact cache"]["pairs"] < 1.05
    assert exponents["more paths", "full attention"]["pairs"] > 1.4
    assert b"<svg" in picture.read_bytes()
