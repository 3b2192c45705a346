"""The benchmark for a GPU runs every row with tiny models where there is none, and says that there is none."""

import json
import shutil
import subprocess
import sys

import pytest
import torch

from tiny import RECIPES

SCRIPT = str(RECIPES.parent / "benchmarks/gpu.py")


NAMES = ("published", "full", "dual", "exact")


def test_a_dry_run_measures_every_shape_and_way_and_caches_save_query_tokens():
    small = ["--dry-run", "--canvas", "128", "--batch", "2", "--prompt", "64", "--pace", "16", "--only", *NAMES]
    done = subprocess.run([sys.executable, SCRIPT, *small], capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["shape"], row["way"]) for row in rows] == [
        (shape, way) for shape in ("llada-8b", "dream-7b") for way in NAMES
    ]
    queries = {(row["shape"], row["way"]): row["query_tokens"] for row in rows}
    for shape in ("llada-8b", "dream-7b"):
        assert queries[shape, "exact"] < queries[shape, "dual"] < queries[shape, "full"] == queries[shape, "published"]
    assert all(row["forwards"] == 8 and row["tokens_per_second"] > 0 for row in rows)


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_dry_run_has_ways_with_compiled_layers_and_one_that_records_graphs_where_there_is_a_device():
    small = ["--dry-run", "--shapes", "llada-8b", "--canvas", "128", "--batch", "1", "--prompt", "64", "--pace", "32"]
    told = [*small, "--only", "full", "full-compile", "full-graphs", "exact", "exact-compile"]
    done = subprocess.run([sys.executable, SCRIPT, *told], capture_output=True, text=True, check=True)
    rows = {row["way"]: row for row in map(json.loads, done.stdout.splitlines())}
    for way in ("full-compile", "full-graphs", "exact-compile"):
        plain = rows[way.partition("-")[0]]
        assert {key: rows[way][key] for key in ("forwards", "query_tokens")} == {
            key: plain[key] for key in ("forwards", "query_tokens")
        }


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_a_device_it_says_so():
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("gpu: no CUDA device here; --dry-run")
