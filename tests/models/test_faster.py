"""Compiled layers and weights of 8 bits: settings of an open model, refused in one line where they cannot be had."""

import shutil
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from test_denoiser import make
from test_session import canvases, close, question

import nap.models.compiled as compiled
from nap.cli import run
from nap.common.files import InputError
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.policies.registry import parse_policy
from nap.models.caches import CACHES
from nap.models.int8 import Int8
from nap.models.load import load
from nap.models.session import open_session
from nap.models.sizes import rows_for, size_for

NATIVE = {"llama": {}, "qwen2": {}, "qwen3": {"block_size": 4}}
KINDS: tuple[Int8, Int8] = ("weights", "products")
without_torchao = pytest.mark.skipif(find_spec("torchao") is None, reason="needs torchao (the extra int8)")
without_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")


@pytest.fixture(scope="module", params=NATIVE)
def folder(request, tmp_path_factory):
    found = tmp_path_factory.mktemp("models") / request.param
    torch.manual_seed(0)
    make(found, request.param, **NATIVE[request.param])
    return str(found)


@pytest.fixture
def uncompiled(monkeypatch):
    """Layers whose shapes are enlarged as for compiling, and that are not compiled, which takes seconds a shape."""
    met = set[tuple[int, ...]]()

    def watched(layer, dynamic):
        def run(states_BQD, attention_mask, **more):
            met.add((*states_BQD.shape, 0 if attention_mask is None else attention_mask.shape[-1]))
            return layer(states_BQD, attention_mask=attention_mask, **more)

        return run

    monkeypatch.setattr(torch, "compile", watched)
    return met


def written(denoiser, lengths, cache="none", attention="full", policy="low_confidence:block=3"):
    rows = canvases(denoiser, lengths, attention)
    traces = decode_traces(denoiser, rows, parse_policy(policy), budget=Budget(tokens=1), cache=cache)
    return [trace.final for trace in traces]


def test_a_size_is_at_most_an_eighth_too_large_and_there_are_few():
    sizes = {n: size_for(n) for n in range(1, 5000)}
    assert all(n <= size < n + max(8, n / 8) and size % 8 == 0 for n, size in sizes.items())
    assert len({*sizes.values()}) < 60 and all(size_for(size) == size for size in sizes.values())
    assert [rows_for(n) for n in (1, 2, 3, 4, 5, 16)] == [1, 2, 4, 4, 8, 16]


@pytest.mark.parametrize("cache", CACHES)
def test_enlarged_shapes_write_the_same_tokens_with_every_cache(folder, uncompiled, cache):
    lengths = (3, 9, 5)
    assert written(load(folder, compile=True), lengths, cache) == written(load(folder), lengths, cache)
    assert all((rows, queries, seen) == (rows_for(rows), size_for(queries), size_for(seen) if seen else 0)
               for rows, queries, _, seen in uncompiled)  # fmt: skip


@pytest.mark.parametrize("cache", ["none", "exact"])
def test_enlarged_shapes_of_independent_paths_give_the_same_logits_as_rows_come_and_go(folder, uncompiled, cache):
    sessions = [open_session(load(folder, compile=fast), cache) for fast in (False, True)]
    rows = canvases(sessions[0].denoiser, (3, 9, 5), "paths")
    for inside in ([0], [0, 1, 2], [0, 2], [2]):
        for session in sessions:
            for gone in session.canvases.keys() - inside:
                session.drop(gone)
            for number in inside:
                if number not in session.canvases:
                    session.admit(number, rows[number])
        asked = [
            question(number, rows[number], np.where(rows[number].region >= 0, 9, rows[number].ids)) for number in inside
        ]
        one, other = (session.ask(asked).logits(slice(None)) for session in sessions)
        assert close(one, other)


@without_compiler
# torch's compiler imports what torch calls deprecated.
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_compiled_layers_keep_keys_in_the_store_and_share_their_code(tmp_path):
    make(tmp_path, "llama", num_hidden_layers=3)
    fast, slow = (load(str(tmp_path), compile=compile) for compile in (True, False))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    assert written(fast, (6,), "exact", "paths") == written(slow, (6,), "exact", "paths")
    # The first forward computes everything, the others a size of fewer positions.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2
    assert fast.setting["compile"] is True


@without_torchao
@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_8_bits_change_logits_a_little_and_take_a_quarter_of_the_memory(folder, kind):
    whole, short = load(folder), load(folder, int8=kind)
    canvas = canvases(whole, (9,))[0]
    sessions = [open_session(model) for model in (whole, short)]
    for session in sessions:
        session.admit(0, canvas)
    one, other = (session.ask([question(0, canvas)]).logits(slice(None)) for session in sessions)
    error = float((one - other).norm() / one.norm())
    assert 0 < error < 0.2 and short.setting["int8"] == kind and "int8" not in whole.setting
    weight = short.model.get_parameter("model.layers.0.mlp.down_proj.weight")
    assert weight.dtype == torch.float32  # what it stands for; torchao keeps integers
    assert "int8" in repr(weight).lower() and type(short.model.get_parameter("lm_head.weight")) is torch.nn.Parameter


@pytest.mark.parametrize(
    ("lacking", "settings", "said"),
    [
        ("torchao", ["--int8", "weights"], "int8 needs torchao; try: pip install 'nap-dlm[int8]'"),
        ("g++", ["--compile"], "torch.compile needs a compiler, and neither g++ nor clang++ is found here"),
    ],
)
def test_what_is_not_installed_is_one_line_that_says_what_to_do(monkeypatch, lacking, settings, said):
    monkeypatch.setattr("nap.models.int8.find_spec", lambda name: None if name == lacking else find_spec(name))
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    with pytest.raises(InputError) as refused:
        run(["decode", "--model", "arith-nap", "--prompt", "How many ?", *settings])
    assert str(refused.value).startswith(said) and len(str(refused.value).splitlines()) == 1


def test_other_models_and_settings_are_one_line(tmp_path):
    make(tmp_path, "bert")
    with pytest.raises(InputError, match="this is a BERT"):
        load(str(tmp_path), compile=True)
    four: Any = "four"
    with pytest.raises(InputError, match="unknown int8 'four'"):
        load(str(tmp_path), int8=four)
    with pytest.raises(InputError, match="none with trust_remote_code"):
        load(str(tmp_path), trust_remote_code=True, compile=True)
