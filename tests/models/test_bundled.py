"""The bundled models are opened only as they were released."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nap.common.files import InputError
from nap.models import bundled, checkpoint
from nap.models.bundled import SUMS, check_bundled, write_sums
from nap.models.load import load


@pytest.fixture
def assets(tmp_path: Path, monkeypatch) -> Iterator[Path]:
    place = tmp_path / "assets"
    place.mkdir()
    for name in ("arith-nap", "arith-longcot"):
        shutil.copytree(checkpoint.ASSETS / name, place / name)
    shutil.copy(checkpoint.ASSETS / SUMS, place / SUMS)
    monkeypatch.setattr(checkpoint, "ASSETS", place)
    monkeypatch.setattr(bundled, "ASSETS", place)
    bundled._sums.cache_clear()
    yield place
    bundled._sums.cache_clear()


def test_every_file_of_every_bundled_model_is_listed_and_is_what_was_released() -> None:
    folders = sorted(path.parent for path in checkpoint.ASSETS.glob("*/config.json"))
    assert {"arith-nap", "arith-longcot", "grids-paths"} < {folder.name for folder in folders}
    for folder in folders:
        check_bundled(folder)
    listed = {line.partition("  ")[2] for line in (checkpoint.ASSETS / SUMS).read_text().splitlines()}
    assert listed == {f"{folder.name}/{path.name}" for folder in folders for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "canvas.json"])
def test_a_changed_a_missing_and_a_strange_file_are_named_before_anything_is_opened(assets: Path, name: str) -> None:
    path = assets / "arith-nap" / name
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"bundled model arith-nap is damaged: arith-nap/{name} is not what was"):
        load("arith-nap")
    path.unlink()
    with pytest.raises(InputError, match=f"arith-nap/{name} is missing; install nap-dlm again"):
        load("arith-nap")
    load("arith-longcot")


def test_a_file_that_nobody_released_is_named(assets: Path) -> None:
    (assets / "arith-nap" / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"arith-nap/adapter_config.json is not what was released"):
        load("arith-nap")


def test_a_copy_of_a_bundled_model_is_its_owners(assets: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    shutil.copytree(assets / "arith-nap", tmp_path / "mine" / "arith-nap")
    (tmp_path / "mine" / "arith-nap" / "notes.txt").write_text("mine")
    load(str(tmp_path / "mine" / "arith-nap"))


def test_new_models_are_written_down(assets: Path) -> None:
    (assets / "arith-nap" / "training.json").write_text("{}")
    write_sums(assets)
    load("arith-nap")
