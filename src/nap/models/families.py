"""One table of what the configs and tensor names of each family of published checkpoints mean.

No published config says all that a decoder needs: which token is the mask, whether the logits are shifted, who may see
whom. A `Family` adds this, and how to rename config keys and tensors into those of transformers' own class. A
checkpoint that NAP saves says it itself: `mask_token_id`, `shift_logits`, `block_size` and `chat_template_kwargs` in
its config are read for every family.

Sources: the model cards and configs of GSAI-ML/LLaDA-8B, Dream-org/Dream-v0, apple/DiffuCoder, JetLM/SDAR (2510.06303)
and dllm-hub's A2D. Does not open files or weights (checkpoint.py) or run a model (denoiser.py). No torch.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from nap.common.files import InputError
from nap.models.config_checks import check_config

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Native = Literal["llama", "qwen2", "qwen3", "bert"]
# An unchecked config; `check_config` checks all of it that is used.
Config = dict[str, Any]

# Usual names of the mask where a tokenizer sets no mask_token, most specific first.
MASK_TOKENS = ("<|mdm_mask|>", "<|mask|>", "<|MASK|>", "|<MASK>|", "[MASK]", "<mask>")

# Only these keys of a published config matter for a forward pass and a decoder. Others can be misleading (a LLaDA
# config says both `weight_tying: false` and, by an accident of PretrainedConfig, `tie_word_embeddings: true`).
_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "mask_token_id")
_OURS = ("shift_logits", "block_size", "chat_template_kwargs")
_DECODER = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "initializer_range", "rms_norm_eps",
    "rope_theta", "rope_scaling", "attention_bias", "attention_dropout", "mlp_bias", "tie_word_embeddings",
)  # fmt: skip
_BERT = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act",
    "max_position_embeddings", "initializer_range", "layer_norm_eps", "type_vocab_size", "hidden_dropout_prob",
    "attention_probs_dropout_prob", "tie_word_embeddings",
)  # fmt: skip


def _keep(config: Config) -> Config:
    """A config in the terms of its native class, with only the keys that matter.

    transformers 5 writes `rope_parameters`. Version 4 does not know this key and would silently use its default base,
    so it is translated back to `rope_theta` and `rope_scaling`, which both versions read.
    """
    config = dict(config)
    if rope := config.pop("rope_parameters", None):
        if any(isinstance(value, dict) for value in rope.values()):
            raise InputError("rope_parameters differs from layer to layer, which is not supported")
        rope = dict(rope)
        config["rope_theta"] = rope.pop("rope_theta", config.get("rope_theta", 10000.0))
        config["rope_scaling"] = rope if rope.get("rope_type", "default") != "default" else None
    kept = (*_DECODER, *_BERT, *_IDS, *_OURS)
    return {key: value for key, value in config.items() if key in kept and value is not None}


def _llada_to_llama(config: Config) -> Config:
    heads, width = config["n_heads"], config["d_model"]
    renamed = {
        "vocab_size": config.get("embedding_size") or config["vocab_size"],
        "hidden_size": width,
        "intermediate_size": config.get("mlp_hidden_size") or int(config.get("mlp_ratio", 4) * width),
        "num_hidden_layers": config["n_layers"],
        "num_attention_heads": heads,
        "num_key_value_heads": config.get("n_kv_heads") or (1 if config.get("multi_query_attention") else heads),
        "max_position_embeddings": config["max_sequence_length"],
        "rms_norm_eps": config.get("rms_norm_eps", 1e-5),
        "rope_theta": config.get("rope_theta", 10000.0),
        "tie_word_embeddings": bool(config.get("weight_tying")),
    }
    return renamed | {key: config[key] for key in (*_IDS, *_OURS) if config.get(key) is not None}


def unwrapped(name: str) -> str:
    """A tensor's name without what torch.compile, data parallelism and checkpointing put around modules."""
    inner = re.sub(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.", "", name)
    return re.sub(r"^(?:module\.)+", "", inner)


@dataclass(frozen=True, kw_only=True)
class Family:
    """One row of the table.

    native      the class of transformers that computes it
    config      published config -> native config
    tensors     (pattern, replacement): published tensor name -> native name, the first that matches
    dropped     pattern of published tensors that no forward pass needs
    required    config values that the native class can compute; any other value is refused
    shift       the logit for position i comes from the hidden state of position i - 1 (position 0 from its own)
    block_size  None: every position may see every other. Otherwise a position sees its own and earlier blocks of this
                many positions, counted from the start of the canvas; `block_size` in the config overrides it
    mask_id     the mask where neither config nor tokenizer declares one
    end_tokens  texts of the tokens that end a text or a turn, beside the declared eos
    template    keywords for the chat template that its published checkpoints were trained with
    unsaid      a warning for users where neither the config nor they themselves set block_size or shift_logits
    """

    native: Native
    config: Callable[[Config], Config] = _keep
    tensors: tuple[tuple[str, str], ...] = ()
    dropped: str = r"\.rotary_emb\.inv_freq$"
    required: tuple[tuple[str, object], ...] = (("use_sliding_window", False),)
    shift: bool = False
    block_size: int | None = None
    mask_id: int | None = None
    end_tokens: tuple[str, ...] = ("<|endoftext|>", "<|im_end|>", "<|eot_id|>")
    template: tuple[tuple[str, object], ...] = ()
    unsaid: str = ""

    def rename(self, name: str) -> str | None:
        """The native name of a published tensor; None for one that is dropped."""
        name = unwrapped(name)
        if re.search(self.dropped, name):
            return None
        for pattern, replacement in self.tensors:
            renamed, count = re.subn(pattern, replacement, name)
            if count:
                return renamed
        return name


_LLADA_BLOCK = r"^model\.transformer\.blocks\.(\d+)\."
_LLADA_REQUIRED = (
    ("block_type", "llama"), ("block_group_size", 1), ("activation_type", "silu"), ("layer_norm_type", "rms"),
    ("rope", True), ("alibi", False), ("attention_layer_norm", False), ("input_emb_norm", False),
    ("scale_logits", False), ("include_bias", False), ("include_qkv_bias", False), ("bias_for_layer_norm", False),
)  # fmt: skip
_PLAIN: dict[str, Family] = {
    "llama": Family(native="llama"),
    "qwen2": Family(native="qwen2"),
    "qwen3": Family(native="qwen3"),
}

_A2D = (
    "its config says neither block_size nor shift_logits, so every position sees every position, and no logit is "
    "shifted; a model trained by BD3LM sees blocks, so give their size (--block-size 32, dllm's default), and one with "
    "shifted logits needs --shift True; --shift False says that it is right as it is"
)

FAMILIES: dict[str, Family] = {
    **_PLAIN,
    # A2D trains with full attention and no shift unless told otherwise.
    **{f"a2d-{name}": replace(family, unsaid=_A2D) for name, family in _PLAIN.items()},
    # dllm trained it on turns with empty thinking.
    "a2d-qwen3": Family(native="qwen3", template=(("enable_thinking", False),), unsaid=_A2D),
    # The mask is 126336 for LLaDA-8B and 1.5, and 5 for iLLaDA; both declare it.
    "llada": Family(
        native="llama",
        config=_llada_to_llama,
        tensors=(
            (_LLADA_BLOCK + r"([qkv])_proj\.", r"model.layers.\1.self_attn.\2_proj."),
            (_LLADA_BLOCK + r"attn_out\.", r"model.layers.\1.self_attn.o_proj."),
            (_LLADA_BLOCK + r"attn_norm\.", r"model.layers.\1.input_layernorm."),
            (_LLADA_BLOCK + r"ff_norm\.", r"model.layers.\1.post_attention_layernorm."),
            (_LLADA_BLOCK + r"ff_proj\.", r"model.layers.\1.mlp.gate_proj."),
            (_LLADA_BLOCK + r"up_proj\.", r"model.layers.\1.mlp.up_proj."),
            (_LLADA_BLOCK + r"ff_out\.", r"model.layers.\1.mlp.down_proj."),
            (r"^model\.transformer\.wte\.", "model.embed_tokens."),
            (r"^model\.transformer\.ln_f\.", "model.norm."),
            (r"^model\.transformer\.ff_out\.", "lm_head."),
        ),
        required=_LLADA_REQUIRED,
    ),
    # Dream, Dream-Coder, DiffuCoder. The shift is declared nowhere.
    "Dream": Family(native="qwen2", shift=True, mask_id=151666),
    # SDAR's default is 4; a checkpoint with larger blocks says so in its config.
    "sdar": Family(native="qwen3", block_size=4, mask_id=151669),
    # An encoder: it has no end of text, and old checkpoints call the scale and shift of a layer norm gamma and beta.
    "bert": Family(
        native="bert",
        tensors=((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias")),
        dropped=r"^bert\.pooler\.|^cls\.seq_relationship\.|position_ids$",
        required=(("is_decoder", False), ("position_embedding_type", "absolute"), ("add_cross_attention", False)),
        end_tokens=(),
    ),
}

_INSTEAD = "use LLaDA-8B, Dream or SDAR, or trust_remote_code with a pinned revision"
_EXPERTS = "is not supported yet (its expert layers have no native class here)"
_FAST = "Fast-dLLM v2 is not supported yet (its shifted block diffusion is not yet checked against its published code)"
# Model types and architectures in lower case without punctuation: LLaDA-MoE has the model_type `llada`, dllm's version
# `lladamoe`.
UNSUPPORTED: dict[str, str] = {
    **dict.fromkeys(("lladamoemodellm", "lladamoemodel", "lladamoe"), f"LLaDA-MoE {_EXPERTS}; {_INSTEAD}"),
    **dict.fromkeys(("llada2moe", "llada2moemodellm"), f"LLaDA2 {_EXPERTS}; {_INSTEAD}"),
    **dict.fromkeys(("sdarmoe", "sdarmoeforcausallm"), f"SDAR-MoE {_EXPERTS}; {_INSTEAD}"),
    **dict.fromkeys(("fastdllmqwen", "fastdllmqwenforcausallm", "fastdllmqwenmodel"), f"{_FAST}; {_INSTEAD}"),
    "diffusiongemma": f"DiffusionGemma is not supported yet (it starts from uniform noise, not masks); {_INSTEAD}",
}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def family_of(config: Config, where: object) -> Family:
    """The family that a config names. Raises InputError for one that is unknown, unsupported or set up otherwise."""
    name = config.get("model_type")
    if name is None:
        raise InputError(f"{where}/config.json has no model_type; known: {', '.join(FAMILIES)}")
    check_config(config, where)
    for key in map(_plain, (name, *(config.get("architectures") or ()))):
        if key in UNSUPPORTED:
            raise InputError(f"{where}: {UNSUPPORTED[key]}")
    if config.get("quantization_config"):
        raise InputError(
            f"{where}: its weights are quantised (quantization_config), which is not supported; "
            "take the checkpoint that they were made from"
        )
    if name not in FAMILIES:
        # No guess at what was meant: a model that is opened as a family of a similar name says other things.
        raise InputError(
            f"{where}: unknown model_type {str(name)!r:.60}; known: {', '.join(FAMILIES)}; a family that is not among "
            f"them needs trust_remote_code with a pinned revision, or a row in NAP's table (CONTRIBUTING.md)"
        )
    _check_architecture(config, where)
    family = FAMILIES[name]
    for key, value in family.required:
        if (got := config.get(key)) is not None and got != value:
            raise InputError(f"{where}: {key}={got!r} is not supported for model_type {name!r}, only {value!r} is")
    return family


def _check_architecture(config: Config, where: object) -> None:
    """Raise InputError for a model of a diffusion family under the model_type of the class that computes it.

    Its weights would open, and be decoded with another shift, other blocks and another mask.
    """
    name, others = config["model_type"], [known for known in FAMILIES if known not in _PLAIN]
    for architecture in (config.get("architectures") or ()) if name in _PLAIN else ():
        if own := next((known for known in others if _plain(str(architecture)).startswith(_plain(known))), None):
            raise InputError(
                f"{where}/config.json says model_type {name!r} and the architecture {architecture!r:.60}, which is of "
                f"{own!r} and decoded otherwise; set model_type to {own!r}, or correct architectures"
            )


def native_config(config: Config, where: object) -> Config:
    """The config in the terms of its family's native class. Raises InputError that names a missing key."""
    try:
        native = family_of(config, where).config(config)
        for key in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"):
            native[key]
    except KeyError as error:
        name = config["model_type"]
        raise InputError(f"{where}/config.json lacks {error.args[0]!r}, which model_type {name!r} needs") from None
    check_config(native, where)
    return native


def template_keywords(config: Config, family: Family) -> Config:
    """The default keywords of the model's chat template: those of the config, or else of the family."""
    said = config.get("chat_template_kwargs")
    return dict(family.template) if said is None else said


class SpecialIds(NamedTuple):
    """The token ids that decoding treats specially. `eos_ids` end a text or a turn."""

    mask_id: int
    pad_id: int
    eos_ids: tuple[int, ...]


def special_ids(
    config: Config, family: Family, tokenizer: "PreTrainedTokenizerBase | None", where: object, mask_id: int | None
) -> SpecialIds:
    """The special ids of a checkpoint: from `mask_id` if given, then its config, its tokenizer and its family.

    Raises InputError for an id outside the vocabulary, a mask that the tokenizer contradicts, or none at all.
    """
    size = config["vocab_size"]
    if tokenizer is not None and len(tokenizer) > size:
        raise InputError(
            f"{where}: its tokenizer has {len(tokenizer)} tokens and the model only {size}; is it another model's?"
        )
    check_config({key: config.get(key) for key in (*_IDS, "vocab_size")}, where)
    mask = _mask_id(config, family, tokenizer, where, mask_id)
    eos = tuple(token for token in end_ids(config, family, tokenizer) if token < size)
    pads = getattr(tokenizer, "pad_token_id", None), config.get("pad_token_id")
    pad = next((token for token in (*pads, *eos) if token is not None), None)
    if pad is None or not 0 <= pad < size or pad == mask:
        raise InputError(
            f"{where} has no token to pad with (pad_token_id {pad}, end of text {list(eos)}, mask {mask}); "
            "set pad_token_id in its config.json"
        )
    return SpecialIds(mask, pad, eos)


def end_ids(config: Config, family: Family | None, tokenizer: "PreTrainedTokenizerBase | None") -> tuple[int, ...]:
    """The ids that end a text or a turn: those that a config and a tokenizer declare, and those of the family's texts.

    A family that is not known has the texts of most (`Family.end_tokens`).
    """
    declared = config.get("eos_token_id")
    ends = [*declared] if isinstance(declared, list) else [declared]
    if tokenizer is not None:
        texts = (family or Family).end_tokens
        ends += [tokenizer.eos_token_id, *(_id_of(text, tokenizer) for text in texts)]
    return tuple(dict.fromkeys(token for token in ends if isinstance(token, int) and token >= 0))


def _mask_id(
    config: Config, family: Family, tokenizer: "PreTrainedTokenizerBase | None", where: object, given: int | None
) -> int:
    said = tokenizer.mask_token_id if tokenizer is not None else None
    sources = (given, declared_mask(config, tokenizer), family.mask_id)
    mask = next((token for token in sources if token is not None), None)
    if mask is None:
        raise InputError(
            f"{where} does not say which token is the mask: its config has no mask_token_id, and its tokenizer no mask "
            f"token (looked for {', '.join(MASK_TOKENS)}); give mask_id"
        )
    size = config["vocab_size"]
    if not 0 <= mask < size:
        raise InputError(f"mask id {mask} is outside the vocabulary of {where}, which has ids 0 to {size - 1}")
    # A token that merely looks like a mask by its text is no contradiction: iLLaDA's config names another.
    if tokenizer is not None and said is not None and mask != said:
        raise InputError(
            f"mask id {mask} is not the mask token of {where}: its tokenizer's is {tokenizer.mask_token!r}, id {said}; "
            "leave mask_id out, or correct mask_token in tokenizer_config.json"
        )
    return mask


def declared_mask(config: Config, tokenizer: "PreTrainedTokenizerBase | None") -> int | None:
    """The mask that a config or a tokenizer declares, or a token with a usual name of a mask; None without one."""
    found = [config.get("mask_token_id"), getattr(tokenizer, "mask_token_id", None)]
    found += [_id_of(text, tokenizer) for text in MASK_TOKENS] if tokenizer is not None else []
    return next((token for token in found if token is not None), None)


def _id_of(text: str, tokenizer: "PreTrainedTokenizerBase") -> int | None:
    # For a text that it does not know, a tokenizer returns the id of the unknown token.
    found = tokenizer.convert_tokens_to_ids(text)
    return found if isinstance(found, int) and tokenizer.convert_ids_to_tokens(found) == text else None
