"""A scorer's name is a folder, a hub name or an address; what is no whole causal model is refused."""

import json

import pytest

from nap.common.files import InputError
from nap.dependence.load import open_scorer
from scorers import POEM, save_causal

pytest.importorskip("aiohttp")


def broken(folder, llama, how):
    folder.mkdir()
    for file in llama.iterdir():
        if not (how == "no tokenizer" and file.name.startswith("tokenizer")):
            (folder / file.name).write_bytes(file.read_bytes())
    if how == "cut":
        from safetensors.torch import load_file, save_file

        tensors = load_file(folder / "model.safetensors")
        tensors.pop("model.norm.weight")
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    if how == "other tokenizer":
        save_causal(folder, vocab_size=50)
    if how == "pickle":
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    if how == "canvas":
        (folder / "canvas.json").write_text("{}")
    if how in ("masked", "family", "remote"):
        change = {
            "masked": {"mask_token_id": 5},
            "family": {"model_type": "a2d-llama"},
            "remote": {"model_type": "mine", "auto_map": {"AutoConfig": "m.C"}},
        }
        config = json.loads((folder / "config.json").read_text()) | change[how]
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "m.py").write_text("raise SystemExit('foreign code ran')")
    return str(folder)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no tokenizer", "has no tokenizer"),
        ("other tokenizer", "its tokenizer has token"),
        ("cut", "lacks 1 tensors"),
        ("pickle", "pickled weights"),
        ("masked", "masked diffusion model"),
        ("canvas", "masked diffusion model; a scorer is a causal language model"),
        ("family", "masked diffusion model"),
        ("remote", "does not load"),
    ],
)
def test_a_folder_that_is_no_whole_causal_model_is_refused(tmp_path, llama, how, said):
    with pytest.raises(InputError, match=said):
        open_scorer(broken(tmp_path / "broken", llama, how)).encode(POEM)


@pytest.mark.parametrize("name", ["arith-nap", "sudoku-4x4", "grids-longcot"])
def test_a_bundled_model_fills_masks_and_is_no_scorer(name):
    with pytest.raises(InputError, match="is a masked diffusion model; a scorer is a causal language model"):
        open_scorer(name)


@pytest.mark.parametrize("flags", [{"tokenizer": "x"}, {"model": "x"}])
def test_a_servers_flags_are_refused_for_a_folder(llama, flags):
    with pytest.raises(InputError, match="is for servers"):
        open_scorer(str(llama), **flags)


def test_a_server_needs_a_tokenizer_and_an_answer(llama, monkeypatch):
    with pytest.raises(InputError, match="--tokenizer DIR"):
        open_scorer("http://127.0.0.1:9/v1")
    monkeypatch.setattr("nap.dependence.server.PAUSE", 0.01)
    with pytest.raises(InputError, match="does not answer"):
        open_scorer("http://127.0.0.1:9/v1", tokenizer=str(llama))
