"""Packed weights: the same numbers, for whatever the weights are now, and a model that is otherwise as it was."""

import copy
import shutil

import numpy as np
import pytest
import torch
from test_denoiser import everywhere, full, make, some_ids

import nap.models.packed as packed
from nap.common.machine import onednn_is_exact
from nap.models.load import load
from nap.models.packed import Packed, copies, use_packed

pytestmark = pytest.mark.skipif(not onednn_is_exact(), reason="oneDNN is not asked on this processor")


def layers(model):
    return [module for module in model.modules() if isinstance(module, torch.nn.Linear)]


@torch.no_grad()
def logits(denoiser):
    ids = some_ids()
    return denoiser.logits(ids, full(ids), everywhere(ids))


@pytest.mark.parametrize("native", ["llama", "qwen2", "qwen3", "bert"])
def test_logits_are_those_of_torchs_own_layers(tmp_path, monkeypatch, native):
    """Biases included, for a first forward and a second."""
    make(tmp_path, native)
    fast = load(str(tmp_path))
    monkeypatch.setattr(packed, "MOST", 0)
    plain = load(str(tmp_path))
    assert {type(layer) for layer in layers(fast.model)} == {Packed}
    assert {type(layer) for layer in layers(plain.model)} == {torch.nn.Linear}
    for _ in range(2):
        torch.manual_seed(0)
        one = logits(fast)
        torch.manual_seed(0)
        assert torch.allclose(one, logits(plain), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("shape", [(5, 8), (2, 5, 8), (0, 8), (2, 0, 8)])
def test_a_layer_multiplies_by_what_its_weight_is_now_whatever_the_shape(shape):
    layer = torch.nn.Linear(8, 24)
    use_packed(torch.nn.Sequential(layer))
    states, plain = torch.randn(shape), torch.nn.functional.linear
    other = torch.nn.Parameter(torch.randn(24, 8))
    changes = (lambda: None, lambda: layer.weight.mul_(2), lambda: setattr(layer, "weight", other))
    with torch.inference_mode():
        for change in changes:
            change()
            torch.testing.assert_close(layer(states), plain(states, layer.weight, layer.bias))


def test_a_model_says_how_large_its_copies_are_before_and_after_they_are_made(tmp_path):
    make(tmp_path, "llama")
    denoiser = load(str(tmp_path))
    every = sum(layer.weight.nbytes for layer in layers(denoiser.model))
    assert copies(denoiser.model) == (0, every) and every
    logits(denoiser)
    assert copies(denoiser.model) == (every, 0)


def test_it_is_saved_copied_and_trained_as_before(tmp_path):
    native = make(tmp_path / "one", "llama")
    denoiser = load(str(tmp_path / "one"))
    before = logits(denoiser)
    denoiser.model.save_pretrained(tmp_path / "two")
    names = native.state_dict().keys()
    assert (
        denoiser.model.state_dict().keys() == names and load(str(tmp_path / "two")).model.state_dict().keys() == names
    )
    twin = copy.deepcopy(layers(denoiser.model)[0])
    with torch.inference_mode():
        states = torch.randn(3, twin.in_features)
        assert torch.equal(twin(states), layers(denoiser.model)[0](states))
    layers(denoiser.model)[0](states.clone()).sum().backward()
    assert layers(denoiser.model)[0].weight.grad is not None
    assert np.isfinite(before.numpy()).all()


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
# torch's compiler imports what torch calls deprecated.
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_other_types_and_compiled_layers_are_left_alone(tmp_path):
    make(tmp_path, "llama")
    for denoiser in (load(str(tmp_path), dtype="bfloat16"), load(str(tmp_path), compile=True)):
        assert {type(layer) for layer in layers(denoiser.model)} == {torch.nn.Linear}
