"""What a loaded checkpoint computes, against published code's stored logits and transformers' own classes.

Reference checkpoints are found through NAP_DATA (default ../shared/data), real ones through NAP_MODELS (default
../models); what needs them skips where they are absent.
"""

import gc
import importlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from nap.canvas.canvas import CanvasSpec, collate, layout
from nap.canvas.visibility import Layout
from nap.common import machine
from nap.common.files import InputError
from nap.decoding.prompt import check_length, prompt_ids
from nap.decoding.prompting import Prompting
from nap.models import attention, checkpoint
from nap.models.attention import attention_mask, use_products
from nap.models.denoiser import NativeDenoiser
from nap.models.families import FAMILIES
from nap.models.load import load, own_dtype

ROOT = Path(__file__).parents[2]
REFERENCE = Path(os.environ.get("NAP_DATA", ROOT / "../shared/data")) / "reference"
MODELS = Path(os.environ.get("NAP_MODELS", ROOT / "../models"))
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"no reference checkpoints in {REFERENCE}")

V, L, MASK = 64, 24, 63
TINY = dict(
    vocab_size=V, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=64, pad_token_id=0, eos_token_id=1, mask_token_id=MASK,
)  # fmt: skip
DECODER = {**TINY, "num_key_value_heads": 2, "head_dim": 8}
CLASSES = {
    "llama": transformers.LlamaForCausalLM,
    "qwen2": transformers.Qwen2ForCausalLM,
    "qwen3": transformers.Qwen3ForCausalLM,
    "bert": transformers.BertForMaskedLM,
}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def make(folder, native, model_type=None, **config):
    """A random model of a native class, saved under `model_type`. A setting of `...` is left out of its config."""
    settings = {
        key: value for key, value in ((TINY if native == "bert" else DECODER) | config).items() if value is not ...
    }
    model = CLASSES[native](CLASSES[native].config_class(**settings)).eval()
    for parameter in model.parameters():
        # Default initialisation gives logits so small that any mask would look right.
        parameter.data.normal_(0, 0.3) if parameter.ndim > 1 else parameter.data.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    edit(folder / "config.json", model_type=model_type or native, **config)
    return model


def edit(path, **changes):
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not ...}))


def some_ids(batch=2, length=L, high=V - 4):
    return torch.randint(2, high, (batch, length))


def everywhere(ids):
    return tuple(torch.cartesian_prod(*(torch.arange(n) for n in ids.shape)).T)


def full(ids):
    return Layout(np.zeros(tuple(ids.shape), np.int64))


def all_logits(denoiser, ids, where=None):
    return denoiser.logits(ids, where or full(ids), everywhere(ids)).view(*ids.shape, -1)


def native_logits(model, ids, visible_LL):
    """Through transformers' public forward, with a mask written by hand, and products that round as ours do."""
    if machine.onednn_is_exact():
        use_products(model)
    with machine.fast_float32(), torch.no_grad():
        if model.config.model_type == "bert":
            assert visible_LL.all()
            return model(ids).logits
        added = torch.zeros(visible_LL.shape).masked_fill(~visible_LL, torch.finfo(torch.float32).min)
        return model(ids, attention_mask=added.expand(len(ids), 1, -1, -1)).logits


def same(left, right, tolerance=1e-5):
    """Equal up to rounding, on the scale of the logits."""
    return (left - right).abs().max() <= tolerance * right.abs().max()


EVERYONE = torch.ones(L, L, dtype=torch.bool)


# Published checkpoints


@needs_reference
@pytest.mark.parametrize("family", ["llada", "dream"])
def test_logits_are_those_of_the_published_code(family):
    denoiser = load(str(REFERENCE / family), shift=False)
    stored = load_file(REFERENCE / family / "logits.safetensors")
    assert same(all_logits(denoiser, stored["input_ids"]), stored["logits"])


@needs_reference
def test_a_dream_logit_comes_from_the_state_before_and_the_first_from_its_own():
    denoiser, unshifted = (load(str(REFERENCE / "dream"), shift=shift) for shift in (None, False))
    ids = load_file(REFERENCE / "dream" / "logits.safetensors")["input_ids"]
    plain, shifted = all_logits(unshifted, ids), all_logits(denoiser, ids)
    assert torch.equal(shifted[:, 1:], plain[:, :-1]) and torch.equal(shifted[:, 0], plain[:, 0])
    assert denoiser.setting["shift_logits"] is True


def llada_names(state):
    """A Llama's tensors under LLaDA's names, written out here once more on purpose."""
    parts = {
        "self_attn.q_proj": "q_proj", "self_attn.k_proj": "k_proj", "self_attn.v_proj": "v_proj",
        "self_attn.o_proj": "attn_out", "mlp.gate_proj": "ff_proj", "mlp.up_proj": "up_proj", "mlp.down_proj": "ff_out",
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ff_norm",
    }  # fmt: skip
    names = {"model.embed_tokens.weight": "wte", "model.norm.weight": "ln_f", "lm_head.weight": "ff_out"}
    names = {native: f"model.transformer.{name}.weight" for native, name in names.items()}
    for layer in range(2):
        for native, name in parts.items():
            names[f"model.layers.{layer}.{native}.weight"] = f"model.transformer.blocks.{layer}.{name}.weight"
    assert set(names) == set(state)
    return {names[name]: tensor.contiguous() for name, tensor in state.items()}


def config_of(denoiser) -> Any:
    return denoiser.model.config


@needs_reference
def test_llada_is_exactly_a_llama_under_other_names():
    published = load_file(REFERENCE / "llada" / "model.safetensors")
    denoiser = load(str(REFERENCE / "llada"))
    model = transformers.LlamaForCausalLM(config_of(denoiser)).eval()
    state = model.state_dict()
    names = dict(zip(llada_names(state), state, strict=True))
    model.load_state_dict({names[name]: tensor for name, tensor in published.items()})
    ids = some_ids(high=500)
    assert torch.equal(all_logits(denoiser, ids), native_logits(model, ids, EVERYONE))


@needs_reference
def test_dream_is_exactly_a_qwen2():
    denoiser = load(str(REFERENCE / "dream"), shift=False)
    model = transformers.Qwen2ForCausalLM(config_of(denoiser)).eval()
    model.load_state_dict(load_file(REFERENCE / "dream" / "model.safetensors"))
    ids = some_ids(high=500)
    assert torch.equal(all_logits(denoiser, ids), native_logits(model, ids, EVERYONE))


LLADA = dict(
    model_type="llada", d_model=32, n_heads=4, n_kv_heads=4, n_layers=2, mlp_hidden_size=48, max_sequence_length=64,
    vocab_size=V, embedding_size=V, rms_norm_eps=1e-6, rope_theta=5000.0, mask_token_id=MASK, eos_token_id=1,
    pad_token_id=1, weight_tying=False, tie_word_embeddings=True, block_type="llama", activation_type="silu",
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "llama"),
    [
        ({"n_kv_heads": 2}, {"num_key_value_heads": 2}),
        ({"n_kv_heads": None}, {}),
        ({"n_kv_heads": None, "multi_query_attention": True}, {"num_key_value_heads": 1}),
        ({"mlp_hidden_size": None, "mlp_ratio": 2}, {"intermediate_size": 64}),
        ({"vocab_size": V - 5, "mask_token_id": V - 6}, {}),
        ({"embedding_size": None}, {}),
        ({"weight_tying": True}, {"tie_word_embeddings": True}),
    ],
)
def test_a_llada_config_is_read_in_all_its_forms(tmp_path, changes, llama):
    base = {**DECODER, "num_key_value_heads": 4, "rope_theta": 5000.0, **llama}
    native = {key: value for key, value in base.items() if key != "pad_token_id"}
    if transformers.__version__ >= "5":
        native["rope_parameters"] = {"rope_theta": native.pop("rope_theta"), "rope_type": "default"}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**native)).eval()
    state = llada_names(model.state_dict())
    if changes.get("weight_tying"):
        del state["model.transformer.ff_out.weight"]
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(LLADA | changes))
    ids = some_ids()
    assert torch.equal(all_logits(load(str(tmp_path)), ids), native_logits(model, ids, EVERYONE))


@pytest.mark.parametrize(
    ("native", "model_type"),
    [
        ("llama", "llama"), ("llama", "a2d-llama"), ("qwen2", "qwen2"), ("qwen2", "a2d-qwen2"), ("qwen3", "qwen3"),
        ("qwen3", "a2d-qwen3"), ("bert", "bert"),
    ],
)  # fmt: skip
def test_full_attention_is_exactly_the_native_class_under_a_mask_of_zeros(tmp_path, native, model_type):
    model, ids = make(tmp_path, native, model_type), some_ids()
    denoiser = load(str(tmp_path))
    expected = native_logits(model, ids, EVERYONE)
    assert same(all_logits(denoiser, ids), expected, 1e-6)
    if native != "bert":
        assert not same(all_logits(denoiser, ids), native_logits(model, ids, EVERYONE.tril()), 0.1)
    assert denoiser.setting["family"] == model_type


@pytest.mark.parametrize(("config", "given", "size"), [({}, None, 4), ({"block_size": 8}, None, 8), ({}, 16, 16)])
def test_sdar_sees_its_own_block_and_earlier_ones(tmp_path, config, given, size):
    model, ids = make(tmp_path, "qwen3", "sdar", **config), some_ids()
    denoiser = load(str(tmp_path), block_size=given)
    visible = torch.tensor([[key // size <= query // size for key in range(L)] for query in range(L)])
    assert same(all_logits(denoiser, ids), native_logits(model, ids, visible), 1e-6)
    assert denoiser.setting["block_size"] == size


def test_blocks_and_layout_hide_what_either_hides(tmp_path):
    make(tmp_path, "qwen3", "sdar")
    region = np.repeat([-2, 0, 1, 2], 6)[None]
    mask = attention_mask(Layout(region, "paths", 2), dtype=torch.float32, device=torch.device("cpu"), block_size=4)
    assert mask is not None
    for query in range(L):
        for key in range(L):
            who, whom = region[0, query], region[0, key]
            allowed = (whom == -2 or who == whom or who == 2) and key // 4 <= query // 4
            assert (mask[0, 0, query, key] == 0) == allowed


# Which positions


@needs_reference
@given(st.data())
@settings(max_examples=15, deadline=None)
def test_asking_for_some_positions_gives_the_same_logits(data):
    denoiser, ids = reference_dream(), some_ids(3)
    count = data.draw(st.integers(0, 30))
    rows, positions = torch.randint(0, 3, (count,)), torch.randint(0, L, (count,))
    some = denoiser.logits(ids, full(ids), (rows, positions))
    assert some.shape == (count, 512) and some.dtype == torch.float32
    assert count == 0 or same(some, all_logits(denoiser, ids)[rows, positions], 1e-6)


def reference_dream(known=[]):  # noqa: B006
    if not known:
        known.append(load(str(REFERENCE / "dream")))
    return known[0]


def test_only_the_states_asked_for_go_through_the_output_head(tmp_path):
    make(tmp_path, "llama")
    denoiser, ids, seen = load(str(tmp_path)), some_ids(), []
    denoiser.model.lm_head.register_forward_hook(lambda module, given, result: seen.append(result.shape))
    denoiser.logits(ids, full(ids), (torch.tensor([0, 1, 1]), torch.tensor([5, 0, 7])))
    assert seen == [(3, V)]


# Who sees whom


@pytest.mark.parametrize("native", ["llama", "bert"])
def test_paths_do_not_see_each_other_and_the_summary_sees_all(tmp_path, native):
    make(tmp_path, native)
    denoiser, ids = load(str(tmp_path)), some_ids()
    region = np.repeat([[-2, 0, 1, 2]] * 2, 6, axis=1)
    where = Layout(region, "paths", 2)
    changed = ids.clone()
    changed[:, 6:12] = some_ids(2, 6)
    before, after = all_logits(denoiser, ids, where), all_logits(denoiser, changed, where)
    moved = (before != after).any(-1).numpy()
    assert not moved[(region == -2) | (region == 1)].any()
    assert moved[(region == 0) | (region == 2)].all()


@pytest.mark.parametrize("native", ["llama", "qwen2", "bert"])
@pytest.mark.parametrize("attention", ["full", "paths"])
def test_a_row_alone_and_in_a_ragged_batch_has_the_same_logits(tmp_path, native, attention):
    make(tmp_path, native)
    denoiser = load(str(tmp_path))
    spec = CanvasSpec(paths=1, path_tokens=9, summary_tokens=0, tags="none", attention=attention)
    canvases = [layout(range(2, 2 + n), spec, None, MASK) for n in (3, 15, 7)]
    ids, together = collate(canvases, denoiser.pad_id)
    batch = all_logits(denoiser, torch.from_numpy(ids), together)
    assert batch.isfinite().all()
    for row, canvas in enumerate(canvases):
        alone = all_logits(
            denoiser, *(f(x) for f, x in zip((torch.from_numpy, lambda x: x), collate([canvas], 0), strict=True))
        )
        assert same(batch[row, : len(canvas)], alone[0], 1e-5)
    garbage = ids.copy()
    garbage[together.region_BL == -3] = 7
    inside = torch.from_numpy(together.region_BL != -3)
    assert torch.equal(all_logits(denoiser, torch.from_numpy(garbage), together)[inside], batch[inside])


def test_rows_that_agree_share_one_mask():
    cpu = {"dtype": torch.float32, "device": torch.device("cpu")}
    rows = np.repeat([[-2, 0, 1, 2]], 5, axis=0)
    assert attention_mask(Layout(rows), **cpu) is None
    shared = attention_mask(Layout(rows, "paths", 2), **cpu)
    assert shared is not None and shared.shape == (1, 1, 4, 4)
    rows[0, 3] = -3
    ragged = attention_mask(Layout(rows, "paths", 2), **cpu)
    assert ragged is not None and ragged.shape == (5, 1, 4, 4)


def test_a_mask_is_built_once_a_layout_and_goes_with_it(tmp_path, monkeypatch):
    make(tmp_path, "llama")
    denoiser, ids, built = load(str(tmp_path)), some_ids(), []
    assert isinstance(denoiser, NativeDenoiser)
    remembered = denoiser.whole_mask
    build = remembered.build
    monkeypatch.setattr(remembered, "build", lambda where: (built.append(1), build(where))[1])
    layouts = [Layout(np.repeat([[-2, 0, 1, 2]] * 2, 6, axis=1), "paths", 2) for _ in range(2)]
    for where in (*layouts, *layouts):
        all_logits(denoiser, ids, where)
    assert len(built) == 2 and len(remembered.known) == 2
    layouts.clear()
    where = None
    gc.collect()
    assert not remembered.known


# Loading


MEASURE = """
import sys, torch
from pathlib import Path
from transformers import LlamaForCausalLM
from nap.models.load import load, own_dtype
def memory(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024
torch.set_num_threads(1)
before = memory("VmRSS")
for dtype in ("bfloat16", "float32"):  # The larger last: the peak is of all so far.
    denoiser = load(sys.argv[1], dtype=dtype)
    print((memory("VmHWM") - before) / sum(p.numel() * p.element_size() for p in denoiser.model.parameters()))
    del denoiser
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="peak memory is read from /proc")
def test_loading_never_holds_the_weights_twice(tmp_path):
    mask: dict[str, Any] = {"mask_token_id": 1}
    config = transformers.LlamaConfig(
        vocab_size=5000, hidden_size=1024, intermediate_size=2816, num_hidden_layers=5, num_attention_heads=8,
        num_key_value_heads=8, pad_token_id=0, **mask,
    )  # fmt: skip
    with torch.device("meta"):
        shapes = transformers.LlamaForCausalLM(config).state_dict()
    names = sorted(shapes)
    halves = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, half in halves.items():
        save_file({name: torch.zeros(shapes[name].shape) for name in half}, tmp_path / file)
    index = {"weight_map": {name: file for file, half in halves.items() for name in half}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    config.save_pretrained(tmp_path)
    assert sum(file.stat().st_size for file in tmp_path.glob("*.safetensors")) > 290e6
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    ratios = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert len(ratios) == 2 and all(float(ratio) < 1.5 for ratio in ratios), f"times the weights: {ratios}"


def test_tied_weights_stay_one_tensor(tmp_path):
    for folder, drop in ((tmp_path / "one", False), (tmp_path / "two", True)):
        model = make(folder, "llama", tie_word_embeddings=True)
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        if drop:
            del state["lm_head.weight"]
        save_file(state, folder / "model.safetensors")
        denoiser, ids = load(str(folder)), some_ids()
        assert denoiser.model.lm_head.weight is denoiser.model.model.embed_tokens.weight
        assert torch.equal(all_logits(denoiser, ids), native_logits(model, ids, EVERYONE))


def test_tied_weights_that_differ_are_refused(tmp_path):
    make(tmp_path, "llama")
    edit(tmp_path / "config.json", tie_word_embeddings=True)
    with pytest.raises(InputError, match="differs from the tensor it is tied to; set tie_word_embeddings to false"):
        load(str(tmp_path))


@pytest.mark.parametrize("style", ["rope_theta", "rope_parameters"])
def test_the_rotary_base_is_read_as_either_version_writes_it(tmp_path, style):
    make(tmp_path, "llama")
    old = {"rope_theta": 777.0, "rope_scaling": None, "rope_parameters": ...}
    new = {"rope_parameters": {"rope_theta": 777.0, "rope_type": "default"}, "rope_theta": ..., "rope_scaling": ...}
    edit(tmp_path / "config.json", **(old if style == "rope_theta" else new))
    frequencies = load(str(tmp_path)).model.model.rotary_emb.inv_freq
    assert torch.allclose(frequencies, 777.0 ** -(torch.arange(0, 8, 2) / 8))


@needs_reference
def test_a_loaded_model_that_is_saved_is_still_the_same_denoiser(tmp_path):
    denoiser, ids = load(str(REFERENCE / "dream")), some_ids(high=500)
    denoiser.model.save_pretrained(tmp_path)
    again = load(str(tmp_path))
    assert again.setting["family"] == "qwen2" and again.setting["shift_logits"] is True
    assert (again.mask_id, again.pad_id) == (510, 509)
    assert torch.equal(all_logits(again, ids), all_logits(denoiser, ids))


def test_padding_is_a_token_like_any_other_to_learn(tmp_path):
    make(tmp_path, "llama")
    denoiser = load(str(tmp_path))
    assert denoiser.model.model.embed_tokens.padding_idx is None and denoiser.pad_id == 0


def test_overwriting_the_file_does_not_touch_a_loaded_model(tmp_path):
    make(tmp_path, "llama")
    denoiser, ids = load(str(tmp_path)), some_ids()
    before = all_logits(denoiser, ids)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert torch.equal(all_logits(denoiser, ids), before)


def test_old_bert_names_and_unused_heads_are_understood(tmp_path):
    model, ids = make(tmp_path, "bert"), some_ids()
    state = load_file(tmp_path / "model.safetensors")
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
           for name, value in state.items()}  # fmt: skip
    old["bert.pooler.dense.weight"], old["cls.seq_relationship.bias"] = torch.zeros(32, 32), torch.zeros(2)
    save_file(old, tmp_path / "model.safetensors")
    assert same(all_logits(load(str(tmp_path)), ids), native_logits(model, ids, EVERYONE), 1e-6)


# Number types and devices


def test_bfloat16_gives_float32_logits_near_the_exact_ones(tmp_path):
    make(tmp_path, "llama")
    ids, region = some_ids(), np.repeat([[-2, 0, 1, 2]] * 2, 6, axis=1)
    exact, short = load(str(tmp_path)), load(str(tmp_path), dtype="bfloat16")
    assert exact.setting["dtype"] == "float32" and short.setting["dtype"] == "bfloat16"
    for where in (full(ids), Layout(region, "paths", 2)):
        logits = all_logits(short, ids, where)
        assert logits.dtype == torch.float32 and same(logits, all_logits(exact, ids, where), 0.1)


@pytest.mark.parametrize(
    ("device", "own", "chosen"),
    [
        ("cpu", "bfloat16", torch.float32), ("cpu", None, torch.float32), ("cuda", "float32", torch.float32),
        ("cuda", "float16", torch.float16), ("cuda", None, torch.bfloat16), ("mps", None, torch.float16),
    ],
)  # fmt: skip
def test_the_automatic_type_depends_on_no_clock(monkeypatch, device, own, chosen):
    monkeypatch.setattr(machine, "_product_seconds", lambda *_: pytest.fail("the machine was measured"))
    assert machine.choose_dtype("auto", torch.device(device), own) == chosen


@pytest.mark.parametrize(
    ("short_seconds", "fast"), [(0.125, torch.bfloat16), (50.0, torch.float32), (0.9, torch.float32)]
)
def test_where_a_shorter_type_is_much_faster_one_line_says_so(monkeypatch, short_seconds, fast):
    speeds = {torch.float32: 1.0, torch.bfloat16: short_seconds}
    monkeypatch.setattr(machine, "_product_seconds", lambda where, dtype: speeds[dtype])
    cpu = torch.device("cpu")
    assert machine.fast_dtype(cpu) == fast
    hint = machine.dtype_hint(cpu, "float32", 4096)
    assert (hint is not None and "--dtype bfloat16" in hint) == (fast == torch.bfloat16)
    assert machine.dtype_hint(cpu, "bfloat16", 4096) is None and machine.dtype_hint(cpu, "float32", 128) is None


def test_a_checkpoint_says_its_type_under_either_versions_name():
    assert [own_dtype({key: "bfloat16"}) for key in ("dtype", "torch_dtype")] == ["bfloat16"] * 2
    assert own_dtype({"torch_dtype": "torch.float16"}) == "float16" and own_dtype({}) is None


def test_measuring_the_machine_gives_a_time():
    assert 0 < machine._product_seconds(torch.device("cpu"), torch.float32) < 1


# Tokens


def words(folder, **special):
    """A whole-word tokenizer of V tokens, the last ones being the given special tokens' names."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    names = ["pad", "eos", *(f"w{i}" for i in range(V - 6)), "<|im_end|>", "user", "assistant", "MASK"]
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="w0", **special)
    fast.save_pretrained(folder)
    return fast


def test_special_tokens_come_from_the_tokenizer(tmp_path):
    make(tmp_path, "llama", mask_token_id=..., eos_token_id=3, pad_token_id=5)
    words(tmp_path, mask_token="MASK", pad_token="pad", eos_token="eos")
    denoiser = load(str(tmp_path))
    assert (denoiser.mask_id, denoiser.pad_id) == (MASK, 0)
    assert denoiser.eos_ids == (3, 1, V - 4)


def test_a_mask_token_may_be_known_by_its_text_where_the_config_is_silent(tmp_path):
    make(tmp_path, "qwen3", "a2d-qwen3", mask_token_id=...)
    tokenizer = words(tmp_path, additional_special_tokens=["<|mask|>"])
    edit(tmp_path / "config.json", vocab_size=V)
    assert len(tokenizer) == V + 1
    with pytest.raises(InputError, match="65 tokens and the model only 64"):
        load(str(tmp_path))
    make(tmp_path, "qwen3", "a2d-qwen3", mask_token_id=..., vocab_size=V + 1)
    assert load(str(tmp_path)).mask_id == V
    edit(tmp_path / "config.json", mask_token_id=5)
    assert load(str(tmp_path)).mask_id == 5


def test_without_a_padding_token_the_end_of_text_pads(tmp_path):
    make(tmp_path, "llama", pad_token_id=..., eos_token_id=[4, 2])
    denoiser = load(str(tmp_path))
    assert denoiser.pad_id == 4 and denoiser.eos_ids == (4, 2)


TEMPLATE = (
    "{% for m in messages %}{{ m.role }} {{ m.content }} <|im_end|> {% endfor %}"
    "{% if add_generation_prompt %}assistant{% endif %}"
)


def test_a_prompt_is_a_turn_in_the_template_unless_it_is_raw_or_there_is_none(tmp_path):
    make(tmp_path, "llama")
    plain = words(tmp_path, mask_token="MASK", pad_token="pad")
    assert prompt_ids(load(str(tmp_path)), "w3 w4") == plain.encode("w3 w4")
    plain.chat_template = TEMPLATE
    plain.save_pretrained(tmp_path)
    denoiser = load(str(tmp_path))
    assert prompt_ids(denoiser, "w3 w4") == plain.encode("user w3 w4 <|im_end|> assistant")
    assert prompt_ids(denoiser, "w3 w4", Prompting(raw=True)) == plain.encode("w3 w4")


def test_a_checkpoint_without_tokenizer_loads_but_reads_no_text(tmp_path):
    make(tmp_path, "llama")
    denoiser = load(str(tmp_path))
    assert denoiser.tokenizer is None
    with pytest.raises(InputError, match=r"has no tokenizer.*tokenizer\.json"):
        prompt_ids(denoiser, "hello")


def test_a_tokenizer_is_chosen_by_its_files_and_not_by_remote_code(tmp_path, capfd):
    dream = tmp_path / "dream"
    dream.mkdir()
    letters = {letter: i for i, letter in enumerate([*"abcdefgh", "Ġ", "ab", "<|mask|>"])}
    (dream / "vocab.json").write_text(json.dumps(letters))
    (dream / "merges.txt").write_text("#version: 0.2\na b\n")
    said = {"tokenizer_class": "DreamTokenizer", "mask_token": "<|mask|>", "unk_token": "f", "eos_token": "g",
            "pad_token": "h", "auto_map": {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]}}  # fmt: skip
    (dream / "tokenizer_config.json").write_text(json.dumps(said))
    (dream / "tokenization_dream.py").write_text("raise SystemExit('remote code was run')")
    tokenizer = checkpoint.read_tokenizer(dream)
    assert not capfd.readouterr().err
    assert tokenizer is not None and tokenizer.mask_token_id == 10 and tokenizer.encode("abc ab") == [9, 2, 8, 9]
    bert = tmp_path / "bert"
    bert.mkdir()
    (bert / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]))
    tokenizer = checkpoint.read_tokenizer(bert)
    assert tokenizer is not None and tokenizer.mask_token_id == 4
    assert tokenizer.encode("a [MASK] b", add_special_tokens=False) == [5, 4, 6]


def test_a_tokenizer_whose_class_its_files_do_not_say_is_read_by_it_or_refused(tmp_path):
    letters = {letter: i for i, letter in enumerate([*"123456789", "Ġ", "12"])}
    (tmp_path / "vocab.json").write_text(json.dumps(letters))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n1 2\n")
    config = tmp_path / "tokenizer_config.json"
    # Qwen2 takes each digit for itself, GPT-2 whole numbers.
    for said, ids in (("Qwen2Tokenizer", [0, 1]), ("Qwen2TokenizerFast", [0, 1]), ("GPT2Tokenizer", [10])):
        config.write_text(json.dumps({"tokenizer_class": said, "unk_token": "9", "eos_token": "8", "bos_token": "8"}))
        tokenizer = checkpoint.read_tokenizer(tmp_path)
        assert tokenizer is not None and tokenizer.encode("12", add_special_tokens=False) == ids
    config.write_text(json.dumps({"tokenizer_class": "RobertaTokenizer"}))
    with pytest.raises(InputError, match=r"'RobertaTokenizer', which is not read from vocab.json and merges.txt here"):
        checkpoint.read_tokenizer(tmp_path)
    (tmp_path / "vocab.json").unlink()
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na")
    config.write_text(json.dumps({"tokenizer_class": "BertJapaneseTokenizer"}))
    with pytest.raises(InputError, match=r"'BertJapaneseTokenizer', which is not read from vocab.txt here; add its"):
        checkpoint.read_tokenizer(tmp_path)


# The canvas and its length


def test_the_canvas_of_a_checkpoint_is_read(tmp_path):
    make(tmp_path, "llama")
    assert load(str(tmp_path)).canvas is None
    (tmp_path / "canvas.json").write_text('{"paths": 2, "path_tokens": 7, "summary_tokens": 3, "attention": "paths"}')
    assert load(str(tmp_path)).canvas == CanvasSpec(paths=2, path_tokens=7, summary_tokens=3, attention="paths")


def test_a_canvas_longer_than_the_model_is_refused(tmp_path):
    make(tmp_path, "llama")
    denoiser = load(str(tmp_path))
    check_length(denoiser, 64)
    with pytest.raises(InputError, match=r"65 tokens is too long .* 64 positions; shorten"):
        check_length(denoiser, 65)


# Bad input: one line each


def no_config(folder):
    (folder / "config.json").unlink()


def an_adapter(folder):
    no_config(folder)
    (folder / "model.safetensors").unlink()
    (folder / "adapter_config.json").write_text("{}")


def only_pickles(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_short(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def without(name, folder):
    state = load_file(folder / "model.safetensors")
    save_file({key: value for key, value in state.items() if key != name}, folder / "model.safetensors")


def shard_missing(folder):
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')


def write(name, text, folder):
    (folder / name).write_text(text)


def beside(name, text, folder):
    """Write it beside a tokenizer."""
    words(folder, mask_token="MASK")
    write(name, text, folder)


def config(folder, **changes):
    edit(folder / "config.json", **changes)


BAD = [
    (shutil.rmtree, {}, "no model .*: no such folder; bundled: "),
    (no_config, {}, "holds no config.json, so it is not a checkpoint"),
    (an_adapter, {}, "does not name its base_model_name_or_path"),
    (partial(write, "config.json", "{"), {}, "config.json is not JSON"),
    (partial(write, "config.json", "[]"), {}, "a JSON object was expected, got list"),
    (partial(config, model_type="lama"), {}, "unknown model_type 'lama'; known: llama, qwen2"),
    (partial(config, model_type=...), {}, "has no model_type; known: llama"),
    (partial(config, hidden_size=...), {}, "lacks 'hidden_size', which model_type 'llama' needs"),
    (partial(config, model_type="llada"), {}, "lacks 'n_heads', which model_type 'llada' needs"),
    (partial(config, model_type="llada2_moe"), {}, "LLaDA2 is not supported yet .*; use LLaDA-8B, Dream or SDAR"),
    (partial(config, model_type="llada", architectures=["LLaDAMoEModelLM"]), {}, "LLaDA-MoE is not supported yet"),
    (partial(config, model_type="diffusion_gemma"), {}, "DiffusionGemma is not supported yet"),
    (partial(config, use_sliding_window=True), {}, "use_sliding_window=True is not supported for model_type 'llama'"),
    (partial(config, hidden_act="sine"), {}, "does not make a llama model"),
    (partial(config, model_type="qwen3"), {}, "missing .*_norm.weight and 3 more, unexpected none"),
    (partial(config, num_hidden_layers=1), {}, r"missing none, unexpected model\.layers\.1\..* and 8 more"),
    (partial(config, intermediate_size=40), {}, r"_proj.weight is \[.*\], its config says \[.*\]"),
    (partial(without, "model.norm.weight"), {}, "missing model.norm.weight, unexpected none; is model_type right"),
    (only_pickles, {}, r"holds only pickled weights \(pytorch_model.bin\).* convert them to safetensors"),
    (lambda folder: (folder / "model.safetensors").unlink(), {}, r"holds no weights; a \*.safetensors file"),
    (cut_short, {}, "is not a whole safetensors file .* was its download cut"),
    (shard_missing, {}, r"lacks model-1.safetensors \(1 of 1 weight files\)"),
    (partial(write, "model.safetensors.index.json", "{}"), {}, "has no weight_map"),
    (partial(write, "tokenizer.json", "{}"), {}, "its tokenizer cannot be read"),
    (partial(beside, "tokenizer_config.json", r'{"a": "\ud83d"}'), {}, r"_config.json holds half a character \(.ud83d"),
    (partial(beside, "special_tokens_map.json", "{"), {}, "special_tokens_map.json is not JSON"),
    (partial(write, "canvas.json", '{"pathz": 3}'), {}, "canvas.json: .*pathz"),
    (partial(write, "canvas.json", '{"paths": 0}'), {}, "canvas.json: canvas paths must be at least 1"),
    (partial(config, mask_token_id=...), {}, "does not say which token is the mask.*; give mask_id"),
    (None, {"mask_id": V}, "mask id 64 is outside the vocabulary of .*, which has ids 0 to 63"),
    (None, {"mask_id": -1}, "mask id -1 is outside"),
    (partial(words, mask_token="MASK"), {"mask_id": 7}, "mask id 7 is not the mask token .* 'MASK', id 63"),
    (partial(config, pad_token_id=MASK), {}, "has no token to pad with"),
    (partial(config, pad_token_id=..., eos_token_id=...), {}, "has no token to pad with .* set pad_token_id"),
    (None, {"revision": "main"}, "revision 'main' is for hub names"),
    (None, {"dtype": "int8"}, "unknown dtype 'int8'; known: auto, float32"),
    (None, {"device": "gpu"}, "device 'gpu' is not usable here .*; try cpu"),
    (None, {"block_size": 0}, "block_size must be at least 1"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "options", "message"), BAD, ids=[message[:40] for *_, message in BAD])
def test_bad_input_is_one_line_that_says_what_to_do(tmp_path, spoil, options, message):
    folder = tmp_path / "m"
    make(folder, "llama")
    if spoil is not None:
        spoil(folder)
    with pytest.raises(InputError, match=message) as caught:
        load(str(folder), **options)
    assert "\n" not in str(caught.value)


def test_a_file_is_not_a_folder(tmp_path):
    make(tmp_path, "llama")
    with pytest.raises(InputError, match=r"is a file; give the folder"):
        load(str(tmp_path / "model.safetensors"))


def test_a_model_that_the_hub_does_not_give_is_one_line(monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="no folder 'no/such', and the hub did not give no/such@main") as caught:
        load("no/such")
    assert "\n" not in str(caught.value)


def test_from_the_hub_only_weights_and_texts_are_fetched(tmp_path, monkeypatch):
    import huggingface_hub

    folder, asked = tmp_path / "snapshots" / "1234abc", {}
    make(folder, "llama")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **how: (asked.update(how), str(folder))[1])
    denoiser = load("some/model", revision="v1")
    assert denoiser.setting["model"] == "some/model" and denoiser.setting["revision"] == "1234abc"
    assert asked == {"revision": "v1", "allow_patterns": ["*.safetensors", "*.json", "*.txt", "*.jinja"]}


def test_pickles_beside_the_weights_are_left_alone(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    make(tmp_path / "m", "llama")
    (tmp_path / "m" / "training_args.bin").write_bytes(pickle.dumps(Bomb()))
    load(str(tmp_path / "m"))
    only_pickles(tmp_path / "m")
    with pytest.raises(InputError):
        load(str(tmp_path / "m"))
    assert not (tmp_path / "exploded").exists()


# A checkpoint's own code


REMOTE = """
import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import MaskedLMOutput
class OwnConfig(PretrainedConfig):
    model_type = "own"
class OwnModel(PreTrainedModel):
    config_class = OwnConfig
    def __init__(self, config):
        super().__init__(config)
        self.table = torch.nn.Embedding(config.vocab_size, config.vocab_size)
        self.post_init()
    def forward(self, input_ids):
        return MaskedLMOutput(logits=self.table(input_ids))
"""


@pytest.fixture
def own_code(tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "own.py").write_text(REMOTE)
    auto = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}
    said = {"model_type": "own", "vocab_size": V, "mask_token_id": MASK, "pad_token_id": 0, "auto_map": auto}
    (folder / "config.json").write_text(json.dumps(said))
    table = torch.randn(V, V)
    save_file({"table.weight": table}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder, table


@pytest.mark.parametrize("shift", [False, True])
def test_a_checkpoints_own_code_runs_only_when_trusted(own_code, shift):
    folder, table = own_code
    with pytest.raises(InputError, match="unknown model_type 'own'"):
        load(str(folder))
    denoiser, ids = load(str(folder), trust_remote_code=True, dtype="float32", shift=shift), some_ids()
    expected = table[torch.cat([ids[:, :1], ids[:, :-1]], 1) if shift else ids]
    assert torch.equal(all_logits(denoiser, ids), expected)
    assert denoiser.setting["remote_code"] and denoiser.mask_id == MASK
    with pytest.raises(InputError, match="only asked for full attention over rows of one length"):
        all_logits(denoiser, ids, Layout(np.repeat([[-2, 0, 1, 2]] * 2, 6, axis=1), "paths", 2))


def test_own_code_that_fails_is_one_line(own_code):
    folder, _ = own_code
    (folder / "own.py").write_text("raise RuntimeError('two\\nlines')")
    with pytest.raises(InputError, match="its own code does not load with transformers") as caught:
        load(str(folder), trust_remote_code=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("revision", [None, "main", "v1.0", "abc123"])
def test_own_code_from_the_hub_needs_a_pinned_commit(revision):
    with pytest.raises(InputError, match="must be a full commit hash"):
        load("some/model", trust_remote_code=True, revision=revision)


# A real pretrained masked denoiser


@pytest.mark.skipif(not (MODELS / "antiberty" / "antiberty").is_dir(), reason=f"no antiberty in {MODELS} (NAP_MODELS)")
def test_antiberty_restores_an_antibody_exactly_as_plain_transformers_does(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    antiberty = importlib.import_module("antiberty")
    antiberty.convert(MODELS / "antiberty", tmp_path)
    denoiser = load(str(tmp_path), dtype="float32")
    source = MODELS / "antiberty" / "antiberty" / "trained_models" / "AntiBERTy_md_smooth"
    plain = transformers.BertForMaskedLM(transformers.BertConfig.from_pretrained(source)).eval()
    plain.load_state_dict(torch.load(source / "pytorch_model.bin", weights_only=True, map_location="cpu"), strict=False)
    for fraction, about in ((0.15, 0.814), (0.4, 0.807), (0.7, 0.799)):
        truth, rows = antiberty.masked_rows(denoiser, fraction)
        masked = rows == denoiser.mask_id
        with torch.no_grad():
            expected = (plain(rows).logits.argmax(-1) == truth)[masked].double().mean().item()
        assert antiberty.recovery(denoiser, fraction) == expected == pytest.approx(about, abs=0.01)
    _, rows = antiberty.masked_rows(denoiser, 0.4, count=4)
    assert torch.equal(antiberty.in_steps(6, denoiser, rows), _plain_loop(plain, rows, 6, denoiser.mask_id))


@torch.no_grad()
def _plain_loop(model, ids_BL, steps, mask_id):
    """Low-confidence decoding with nothing but transformers: a row and a forward at a time."""
    rows = ids_BL.clone()
    for row in rows:
        counts = np.bincount(np.arange(int((row == mask_id).sum())) % steps)
        for count in counts.tolist():
            probability, token = model(row[None]).logits[0].softmax(-1).max(-1)
            chosen = torch.where(row == mask_id, probability, -1).topk(count).indices
            row[chosen] = token[chosen]
    return rows


def test_every_family_names_a_native_class_of_the_table():
    assert {family.native for family in FAMILIES.values()} == set(CLASSES)


def test_fast_products_are_float32_products_and_the_setting_does_not_outlive_them():
    backend = torch.backends.mkldnn
    before = getattr(backend, "fp32_precision", None)
    torch.manual_seed(0)
    layer = torch.nn.Linear(384, 128)
    x = torch.randn(260, 384)
    plain = layer(x)
    with machine.fast_float32():
        product = x @ layer.weight.T
    exact = x.double() @ layer.weight.double().T
    assert (product - exact).abs().max() < machine.FLOAT32_ERROR * exact.abs().max()
    assert (product + layer.bias - plain).abs().max() < machine.FLOAT32_ERROR * plain.abs().max()
    with pytest.raises(RuntimeError), machine.fast_float32():
        layer(torch.randn(2, 3))
    assert getattr(backend, "fp32_precision", None) == before


def test_threads_that_multiply_at_once_leave_the_setting_as_it_was():
    backend = torch.backends.mkldnn
    before, inside, left = getattr(backend, "fp32_precision", None), threading.Event(), threading.Event()

    def other():
        with machine.fast_float32():
            inside.set()
            left.wait(10)

    thread = threading.Thread(target=other)
    with machine.fast_float32():
        thread.start()
        assert inside.wait(10)
    left.set()
    thread.join()
    assert getattr(backend, "fp32_precision", None) == before


def test_opening_a_model_changes_nothing_of_the_process_and_nothing_of_torchs_layers(tmp_path):
    make(tmp_path, "llama")
    before = getattr(torch.backends.mkldnn, "fp32_precision", None), torch.get_num_threads()
    model = load(str(tmp_path)).model
    assert not any("forward" in vars(module) for module in model.modules())
    assert (getattr(torch.backends.mkldnn, "fp32_precision", None), torch.get_num_threads()) == before


@pytest.mark.parametrize("shared", [4, 2, 1])
@pytest.mark.parametrize("hidden", [None, "rows", "one"])
def test_attention_as_products_is_torchs_attention(monkeypatch, shared, hidden):
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 4, 5, 8, generator=generator)
    key, value = (torch.randn(2, shared, 7, 8, generator=generator) for _ in range(2))
    mask = None
    if hidden:
        blocked = torch.rand(2 if hidden == "rows" else 1, 1, 5, 7, generator=generator) < 0.3
        mask = torch.zeros(blocked.shape).masked_fill_(blocked, torch.finfo(torch.float32).min)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True)
    for most in (1 << 30, 0):
        monkeypatch.setattr(attention, "MOST_SCORES", most)
        found, _ = attention.products(torch.nn.Identity(), query, key, value, mask)
        assert torch.allclose(found.transpose(1, 2), expected, atol=1e-6)


def test_onednn_is_not_asked_where_it_rounds_to_bfloat16(monkeypatch):
    monkeypatch.setattr(machine, "FLOAT32_ERROR", 1e-9)
    assert not machine.onednn_is_exact.__wrapped__()


FAULTS = """
import resource, sys, torch
from nap.common.memory import keep_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        tensors = [torch.ones(1 << 20) for _ in range(8)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
plain = faults()
print(plain, keep_memory(), faults() and faults())
"""


def test_freed_memory_is_used_again_where_malloc_can_keep_it():
    told = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True).stdout.split()
    if told[1] == "False":
        pytest.skip("this system's malloc has no such setting")
    assert int(told[2]) < int(told[0]) / 4
