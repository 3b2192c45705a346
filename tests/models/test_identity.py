"""Whichever file of a model changes, its digests do, and name the file."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nap.models.adapter import base_of
from nap.models.identity import changed_in_base, made_of, stamp_of
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


def test_a_base_that_is_another_than_the_adapter_was_trained_on_is_told(adapter):
    base, noted = base_of(adapter), adapter / "training.json"
    assert changed_in_base(adapter, base) is None, "an adapter of peft says nothing"
    noted.write_text(json.dumps({"made_of": {"models": {"base": made_of(str(base.folder), None)}}}))
    assert changed_in_base(adapter, base) is None
    change_json(base.folder / "config.json", rope_theta=1.0)
    assert changed_in_base(adapter, base) == "config"
    save_tiny(base.folder, seed=1)
    assert changed_in_base(adapter, base) == "weights"
    for said in ("{}", '{"made_of": 5}', '{"made_of": {"models": {"base": 5}}}'):
        noted.write_text(said)
        assert changed_in_base(adapter, base) is None


def test_a_stamp_changes_with_every_file_that_is_read_and_with_no_other(adapter):
    before = stamp_of(str(adapter))
    assert stamp_of("org/model") == stamp_of("exact:grids") == ()
    (adapter / "notes.txt").write_text("a")
    assert stamp_of(str(adapter)) == before != ()
    for file in (adapter / "adapter_config.json", adapter.parent / "base/model.safetensors"):
        known = stamp_of(str(adapter))
        file.write_bytes(file.read_bytes() + b" ")
        assert stamp_of(str(adapter)) != known
    law = adapter.parent / "law.txt"
    law.write_text("a b")
    known = stamp_of(f"exact:{law},order=2")
    law.write_text("a b c")
    assert stamp_of(f"exact:{law},order=2") != known
