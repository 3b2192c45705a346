"""Adapters that peft saved, under published or native names, against weights that peft merged itself."""

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

pytest.importorskip("peft")

from peft import LoraConfig, get_peft_model

from nap.canvas.visibility import Layout
from nap.common.files import InputError
from nap.models import checkpoint
from nap.models.adapter import base_of
from nap.models.load import load
from nap.models.lora import Key, read_key
from nap.models.lora_settings import PATIENCE

V, D, HIDDEN, LAYERS = 40, 16, 24, 2
SHAPES = {"q_proj": (D, D), "k_proj": (D, D), "v_proj": (D, D), "attn_out": (D, D)}
SHAPES |= {"ff_proj": (HIDDEN, D), "up_proj": (HIDDEN, D), "ff_out": (D, HIDDEN), "attn_norm": (D,), "ff_norm": (D,)}
CONFIG = {
    "model_type": "llada", "d_model": D, "n_heads": 2, "n_kv_heads": 2, "n_layers": LAYERS, "mlp_hidden_size": HIDDEN,
    "vocab_size": V, "embedding_size": V, "max_sequence_length": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "weight_tying": False, "mask_token_id": V - 1, "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip


def llada_tensors(**changes: Any) -> dict[str, Tensor]:
    """Random weights under the names of LLaDA's published code."""
    torch.manual_seed(0)
    shapes = {f"blocks.{layer}.{name}": shape for layer in range(LAYERS) for name, shape in SHAPES.items()}
    shapes |= {"wte": (V, D), "ln_f": (D,), "ff_out": (V, D)} | changes
    drawn = {name: torch.randn(shape) * 0.3 + (len(shape) == 1) for name, shape in shapes.items()}
    return {f"model.transformer.{name}.weight": value for name, value in drawn.items()}


def tree(tensors: dict[str, Tensor]) -> nn.Module:
    """Modules under those names, which is all that peft asks of a model."""
    root = nn.Module()
    for name, value in tensors.items():
        *path, last, _ = name.split(".")
        place = root
        for word in path:
            if not hasattr(place, word):
                place.add_module(word, nn.Module())
            place = getattr(place, word)
        rows, columns = (*value.shape, 1)[:2]
        kind = nn.LayerNorm(rows, bias=False) if value.ndim == 1 else nn.Linear(columns, rows, bias=False)
        kind = nn.Embedding(rows, columns) if last == "wte" else kind
        kind.weight = nn.Parameter(value.clone())
        place.add_module(last, kind)
    return root


def write_model(folder: Path, tensors: dict[str, Tensor], **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    return folder


class Saved:
    """A base, an adapter of random values that peft made of it, and the model that peft merges of both."""

    def __init__(self, folder: Path, tensors: dict[str, Tensor] | None = None, config: Any = None, **settings: Any):
        tensors = tensors or llada_tensors()
        self.base, self.folder = write_model(folder / "base", tensors, **config or {}), folder / "adapter"
        model = get_peft_model(tree(tensors), LoraConfig(r=4, lora_alpha=12, **settings))  # pyright: ignore
        torch.manual_seed(1)
        for name, value in model.named_parameters():
            if value.requires_grad:
                value.data = torch.randn_like(value) * 0.3 + ("magnitude" in name or "norm" in name)
        model.peft_config["default"].base_model_name_or_path = str(self.base)
        model.save_pretrained(str(self.folder), save_embedding_layers=False)
        merged = model.merge_and_unload().state_dict()  # pyright: ignore[reportCallIssue]
        self.merged = write_model(folder / "merged", merged, **config or {})

    def edit(self, **changes: Any) -> "Saved":
        path = self.folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        return self

    def rename(self, change: Any) -> "Saved":
        """Write the tensors under other names; None leaves one out."""
        path = self.folder / "adapter_model.safetensors"
        named = [(change(name), value) for name, value in load_file(path).items()]
        save_file({name: value for name, value in named if name}, path)
        return self


def logits(folder: Path) -> Tensor:
    denoiser = load(str(folder), dtype="float32")
    ids_BL = torch.arange(12)[None] + 2
    at = (torch.zeros(12, dtype=torch.long), torch.arange(12))
    return denoiser.logits(ids_BL, Layout(np.zeros((1, 12), np.int64)), at)


def check_same(saved: Saved) -> None:
    found, merged, base = (logits(folder) for folder in (saved.folder, saved.merged, saved.base))
    torch.testing.assert_close(found, merged, atol=1e-4, rtol=1e-4)
    assert (found - base).abs().max() > 0.1


D1 = ["q_proj", "k_proj", "v_proj"]
ALL = [*D1, "attn_out", "ff_proj", "up_proj", "ff_out"]
SETTINGS: dict[str, dict[str, Any]] = {
    "d1": {"target_modules": D1},
    "all, and the head that is called as a layer is": {"target_modules": ALL},
    "a regular expression": {"target_modules": r".*blocks\.\d+\.(q_proj|ff_out)"},
    "full names": {"target_modules": ["model.transformer.blocks.1.q_proj"]},
    "some layers": {"target_modules": D1, "layers_to_transform": [1]},
    "some layers under a pattern": {"target_modules": D1, "layers_to_transform": [0], "layers_pattern": "blocks"},
    "other ranks": {"target_modules": D1, "rank_pattern": {"k_proj": 2, "blocks.1.v_proj": 6}},
    "other scales": {"target_modules": D1, "alpha_pattern": {r"^model\..*\.1\.q_proj": 40, "v_proj": 1}},
    "rank-stabilised": {"target_modules": D1, "use_rslora": True, "rank_pattern": {"k_proj": 2}},
    "dora": {"target_modules": ["q_proj", "ff_out"], "use_dora": True},
    "left out": {"target_modules": ALL, "exclude_modules": ["ff_out"]},
    "trained whole": {"target_modules": ["q_proj"], "modules_to_save": ["transformer.ff_out", "ln_f"]},
    "a layer's norms": {"target_modules": ["q_proj"], "modules_to_save": ["attn_norm"]},
    "embeddings": {"target_modules": ["wte", "v_proj"]},
    "rows of the embeddings": {"target_modules": ["q_proj"], "trainable_token_indices": {"wte": [7, 3]}},
    "biases that are not there": {"target_modules": ["q_proj"], "bias": "all"},
    "first values from a distribution": {"target_modules": ["q_proj"], "init_lora_weights": "gaussian"},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_an_adapter_under_the_published_names_decodes_as_its_merged_weights(tmp_path, settings) -> None:
    check_same(Saved(tmp_path, **settings))


@pytest.mark.parametrize(
    "settings",
    [
        {"bias": "all"},
        {"bias": "lora_only"},
        {"lora_bias": True},
        {"modules_to_save": ["v_proj"]},
        {"modules_to_save": ["embed_tokens"]},
        {"target_modules": ["lm_head"]},
        {"trainable_token_indices": [5, 2]},
    ],
    ids=str,
)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings:UserWarning")
@pytest.mark.filterwarnings("ignore:Adapter 'default'.*have invalid shape")
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_biases_tables_and_rows_of_a_native_adapter_are_those_of_its_peft_model(tmp_path, settings, tied) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": D, "intermediate_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": 2}
    ids = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1, "mask_token_id": V - 1}
    config = Qwen2Config(
        vocab_size=V, num_key_value_heads=2, tie_word_embeddings=tied, initializer_range=0.3, **shape, **ids
    )
    network = Qwen2ForCausalLM(config).eval()
    network.save_pretrained(tmp_path / "base")
    model = get_peft_model(network, LoraConfig(r=2, **{"target_modules": ["q_proj"]} | settings))
    for value in model.parameters():
        if value.requires_grad:
            value.data = torch.randn_like(value) * 0.3
    model.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    model.save_pretrained(str(tmp_path / "adapter"), save_embedding_layers=False)
    ids_BL = torch.arange(12)[None] + 2
    with torch.no_grad():
        wanted = model(input_ids=ids_BL, attention_mask=torch.zeros(1, 1, 12, 12), use_cache=False).logits[0]
    found = logits(tmp_path / "adapter")
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert (found - logits(tmp_path / "base")).abs().max() > 0.1


def under(name: str, key: str) -> str:
    """A key as a state dict has it, with the adapter's own name."""
    stem, _, last = key.rpartition(".")
    return (
        f"{stem}.{name}.{last}" if last == "weight" and "lora_" in stem else f"{key}.{name}" if "lora_" in key else key
    )


@pytest.mark.parametrize(
    "change",
    [
        partial(under, "other"),
        lambda key: "module." + key,
        lambda key: key.removeprefix("base_model.model."),
        lambda key: key.replace("base_model.model.", "base_model.model._orig_mod."),
        lambda key: key.replace("base_model.model.model.", "base_model.model."),
        lambda key: key.replace("base_model.model.", "base_model.model.base_model.model."),
        lambda key: key.replace(".blocks.0.", ".blocks.0._checkpoint_wrapped_module."),
    ],
)
def test_the_prefixes_and_the_adapters_own_name_are_no_part_of_a_layers_name(tmp_path, change) -> None:
    saved = Saved(tmp_path, target_modules=["q_proj", "wte"], use_dora=False)
    saved.rename(change)
    check_same(saved)


def test_a_tensors_name_is_taken_apart() -> None:
    assert read_key("base_model.model.a.q.lora_A.weight") == Key("a.q", "lora_A", None)
    assert read_key("a.q.lora_A.other.weight") == Key("a.q", "lora_A", "other")
    assert read_key("a.q.lora_B.bias") == Key("a.q", "lora_B.bias", None)
    assert read_key("a.q.lora_magnitude_vector.default.weight") == Key("a.q", "lora_magnitude_vector", "default")
    assert read_key("a.modules_to_save.default.weight") == Key("a", "weight", "default")
    assert read_key("a.q.base_layer.bias") == Key("a.q", "bias", None)
    assert read_key("prompt_embeddings").role == ""


# Each letter of a name can be read in several ways, and at its end none of them fits.
ENDLESS = r"(?:(?:.|\w)*(?:.|[a-z])*)*[!x]"


def only(part: str, key: str) -> str | None:
    return None if part in key else key


def values(change: Any, saved: Saved) -> None:
    path = saved.folder / "adapter_model.safetensors"
    tensors = load_file(path)
    first = next(iter(tensors))
    save_file(tensors | {first: change(tensors[first])}, path)


def pickled(saved: Saved) -> None:
    (saved.folder / "adapter_model.safetensors").rename(saved.folder / "adapter_model.bin")


BAD: list[tuple[Any, str]] = [
    (lambda s: s.rename(partial(only, "1.q_proj.lora_A")), r"change .*blocks\.1\.q_proj, and it has no lora_A"),
    (lambda s: s.rename(partial(only, "1.q_proj")), "has no lora_A, lora_B for it"),
    (lambda s: s.edit(target_modules=["k_proj", *D1[:1], "ff_out"]), "has no lora_A, lora_B for it"),
    (lambda s: s.edit(target_modules=["nothing"]), "lora_A, lora_B for .*q_proj, which its settings do not use"),
    (lambda s: s.rename(lambda k: k.replace("q_proj", "w_proj")), "w_proj.* belongs to no layer of its base"),
    (lambda s: s.rename(lambda k: k.replace("blocks.1", "blocks.7")), "blocks.7.* belongs to no layer"),
    (lambda s: s.rename(lambda k: under("a" if "lora_A" in k else "b", k)), r"holds several adapters \(a, b\)"),
    (lambda s: s.rename(lambda k: "prompt_embeddings" if "1.q_proj.lora_A" in k else k), "belongs to no layer"),
    (lambda s: s.edit(use_dora=True), "has no lora_magnitude_vector"),
    (lambda s: s.edit(lora_bias=True), r"has no lora_B\.bias"),
    (lambda s: s.edit(modules_to_save=["ln_f"]), "has no weight for it"),
    (lambda s: s.edit(trainable_token_indices=[1]), "has no trainable_tokens_delta for it"),
    (lambda s: s.edit(r=8), r"lora_A for .* is \[4, 16\]; its settings and its base say \[8, 16\]"),
    (lambda s: s.edit(rank_pattern={"q_proj": 10**8}), "rank_pattern must be a whole number from 1 to 1000000"),
    (lambda s: s.edit(rank_pattern={"q_proj": 10**6}), r"say \[1000000, 16\]"),
    (lambda s: s.edit(r=0), "r must be a whole number"),
    (lambda s: s.edit(lora_alpha="x"), "lora_alpha must be a number below"),
    (lambda s: s.edit(lora_alpha=float("nan")), "lora_alpha must be a number below"),
    (lambda s: s.edit(target_modules=5), "target_modules must be a list of names, got 5"),
    (lambda s: s.edit(target_modules="(" * 9), "is no regular expression"),
    (lambda s: s.edit(target_modules=ENDLESS), "takes more than 2 s; write the names of the layers as a list"),
    (lambda s: s.edit(target_modules="a" * 200_000), "a pattern of 200000 characters"),
    (lambda s: s.edit(alpha_pattern={ENDLESS: 2}), "takes more than 2 s"),
    (lambda s: s.edit(layers_to_transform="all"), "layers_to_transform must be whole numbers"),
    (lambda s: s.edit(trainable_token_indices={"wte": 5}), "trainable_token_indices must be token ids"),
    (lambda s: s.edit(bias="some"), "bias must be one of none, all, lora_only"),
    (lambda s: s.edit(use_rslora="yes"), "use_rslora must be true or false"),
    (lambda s: s.edit(peft_type="LOHA"), "peft_type 'LOHA' is not supported, only 'LORA' is"),
    (lambda s: s.edit(init_lora_weights="pissa"), "init_lora_weights='pissa' trains from changed base weights"),
    (lambda s: s.edit(layer_replication=[[0, 2]]), "the setting layer_replication=.* is not supported"),
    (lambda s: s.edit(target_parameters=["mlp.experts"]), "the setting target_parameters=.* is not supported"),
    (lambda s: s.edit(use_something_new=True), "the setting use_something_new=True is not supported"),
    (partial(values, lambda value: value * float("nan")), r"holds values that are no numbers"),
    (partial(values, lambda value: value.to(torch.int8)), "is torch.int8, not floating point"),
    (pickled, r"holds only pickled weights \(adapter_model.bin\)"),
    (lambda s: (s.folder / "adapter_model.safetensors").unlink(), "holds no adapter_model.safetensors"),
    (lambda s: write_model(s.folder, llada_tensors()), "holds an adapter and whole weights; move one"),
    (lambda s: s.edit(base_model_name_or_path="no/such"), "no model 'no/such' here, beside the"),
    (lambda s: s.edit(base_model_name_or_path=["x"]), "does not name its base_model_name_or_path"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "said"), BAD, ids=[said[:50] for _, said in BAD])
def test_an_adapter_that_does_not_fit_is_refused_by_name(tmp_path, spoil, said) -> None:
    saved = Saved(tmp_path, target_modules=["q_proj"])
    spoil(saved)
    with pytest.raises(InputError, match=said) as refused:
        logits(saved.folder)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 800


def test_patterns_that_never_end_are_given_up(tmp_path) -> None:
    saved = Saved(tmp_path, target_modules=["q_proj"]).edit(target_modules=ENDLESS)
    # Not the seconds on the wall, which another program on the same core can stretch.
    started = time.process_time()
    with pytest.raises(InputError, match="takes more than"):
        logits(saved.folder)
    assert time.process_time() - started < PATIENCE + 10


def test_a_base_that_the_adapter_names_is_found_beside_it_and_never_asked_of_the_hub(tmp_path, monkeypatch) -> None:
    import huggingface_hub

    def asked(*args: Any, **options: Any) -> str:
        assert options["local_files_only"], "the hub was asked"
        raise OSError("not in the cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", asked)
    saved = Saved(tmp_path, target_modules=["q_proj"]).edit(base_model_name_or_path="owner/model")
    with pytest.raises(
        InputError, match=r"only what you name is fetched; fetch it \(hf download owner/model\), or write"
    ):
        base_of(saved.folder)
    near = (tmp_path / "model", tmp_path / "owner" / "model")
    for place in near:
        place.parent.mkdir(exist_ok=True)
        saved.base.rename(place)
        saved.base = place
        assert base_of(saved.folder).folder == place
        check_same(saved)


def test_a_base_that_was_fetched_before_is_taken_from_the_cache(tmp_path, monkeypatch) -> None:
    import huggingface_hub

    saved = Saved(tmp_path, target_modules=["q_proj"])
    asked = []

    def cached(name: str, **options: Any) -> str:
        asked.append((name, options["revision"], options["local_files_only"]))
        return str(saved.base)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", cached)
    saved.edit(base_model_name_or_path="owner/model", revision="abc")
    check_same(saved)
    assert set(asked) == {("owner/model", "abc", True)}
    assert checkpoint.cached("no name of a hub") is None


def test_an_adapter_of_an_adapter_is_refused(tmp_path) -> None:
    saved = Saved(tmp_path, target_modules=["q_proj"])
    other = Saved(tmp_path / "other", target_modules=["q_proj"]).edit(base_model_name_or_path=str(saved.folder))
    with pytest.raises(InputError, match="is an adapter itself"):
        logits(other.folder)


def test_an_adapter_of_the_reference_checkpoint_decodes_as_its_merged_weights(tmp_path, nap_data) -> None:
    reference = nap_data / "reference" / "llada"
    config = json.loads((reference / "config.json").read_text())
    saved = Saved(tmp_path, load_file(reference / "model.safetensors"), config, target_modules=ALL)
    check_same(saved)
