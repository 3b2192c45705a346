"""The benchmark of a whole decode compares what the issue of a speed claim needs, on a model that takes no time."""

import json
import subprocess
import sys

from tiny import RECIPES

SCRIPT = str(RECIPES.parent / "benchmarks/decode.py")
SMALL = {"width": 64, "layers": 2, "vocab": 1024, "prompt": 16, "pace": 8, "repeats": 0}


def rows_of(folder, *more: str):
    command = [
        sys.executable,
        SCRIPT,
        "--json",
        *(text for key, value in SMALL.items() for text in (f"--{key}", str(value))),
    ]
    done = subprocess.run([*command, *more], capture_output=True, text=True, check=True, cwd=folder)
    return {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}


def test_full_attention_writes_what_the_published_loop_writes_and_the_exact_cache_computes_less(tmp_path):
    found = rows_of(tmp_path, "--only", "full", "paths", "exact", "--batch", "2")
    # With so few tokens the published loop may write the mask itself, which ours never does.
    assert found["full"]["same_tokens"] >= 0.98 and found["full"]["against"] == "published"
    assert found["exact"]["same_tokens"] == 1 and found["exact"]["against"] == "paths"
    assert found["full"]["query_tokens"] == 16 * 2 * (16 + 4 * 36) == found["paths"]["query_tokens"]
    assert found["exact"]["query_tokens"] < found["paths"]["query_tokens"] / 2
    assert {row["forwards"] for row in found.values()} == {16}
    said = "name attention cache vocab batch prompt paths speedup same_tokens forwards query_tokens peak_mb products"
    assert all({*said.split()} <= {*row} and row["speedup"] > 0 and row["products"] > 0 for row in found.values())


def test_a_published_loop_that_is_timed_in_part_is_compared_by_nothing_that_it_did_not_write(tmp_path):
    part = "--published-steps", "2", "--published-rows", "1", "--batch", "2"
    found = rows_of(tmp_path, "--only", "published", "full", *part, "--cpu")
    assert found["published"]["same_tokens"] is None and found["published"]["speedup"] == 1
    assert found["full"]["against"] == "full"


def test_in_bfloat16_both_loops_compute_in_it(tmp_path):
    found = rows_of(tmp_path, "--only", "full", "exact", "--dtype", "bfloat16")
    assert {row["dtype"] for row in found.values()} == {"bfloat16"}
    assert found["full"]["against"] == "published" and found["full"]["same_tokens"] > 0.5
