"""Whichever file of a model changes, its digests do, and name the file."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nap.models.identity import made_of
from tiny import change_json, save_tiny


@pytest.fixture
def adapter(tmp_path) -> Path:
    """The folder of an adapter beside its base, both by their files alone."""
    save_tiny(tmp_path / "base")
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "base", "lora_alpha": 8}))
    save_file({"a": torch.zeros(2)}, folder / "adapter_model.safetensors")
    return folder


def differing(one, other):
    pairs = {**one["files"], "weights": one["weights"]}, {**other["files"], "weights": other["weights"]}
    return [name for name in pairs[0] if pairs[0][name] != pairs[1].get(name)]


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("base/model.safetensors", "base/weights"),
        ("base/config.json", "base/config.json"),
        ("base/tokenizer.json", "base/tokenizer.json"),
        ("adapter/adapter_config.json", "adapter_config.json"),
        ("adapter/adapter_model.safetensors", "weights"),
    ],
)
def test_each_file_of_an_adapter_and_of_its_base_counts(adapter, file, named):
    before, path = made_of(str(adapter), None), adapter.parent / file
    if path.suffix == ".json":
        change_json(path, rope_theta=1.0)
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert differing(before, made_of(str(adapter), None)) == [named]


def test_a_model_that_was_moved_or_saved_again_is_the_same(adapter):
    before = made_of(str(adapter), None)
    moved = adapter.parent / "elsewhere"
    shutil.move(adapter.parent / "base", moved)
    change_json(adapter / "adapter_config.json", base_model_name_or_path=str(moved))
    change_json(moved / "config.json", transformers_version="9")
    (moved / "README.md").write_text("a model")
    assert made_of(str(adapter), None) == before


def test_python_files_count_where_they_run_and_a_law_has_no_files(adapter):
    base = str(adapter.parent / "base")
    before = made_of(base, None, code=True)
    Path(base, "modeling.py").write_text("1")
    assert made_of(base, None, code=True) != before == made_of(base, None)
    assert made_of("exact:texts.txt", "5f") == {"weights": None}
