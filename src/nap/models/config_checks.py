"""Bounds for the values of a checkpoint's config, checked before they are used.

Anybody may have written a config: a number may be a text, a list, or so large that the model could never be built. The
bounds are far beyond every published model, and each key means the same in all families that use it.

Does not know which keys a family needs (families.py).
"""

from collections.abc import Mapping

from nap.common.bounds import BLOCK_SIZE
from nap.common.files import InputError

# Whole numbers, with the least and the most: ten times what the largest published models have.
WHOLE: dict[str, tuple[int, int]] = {
    **dict.fromkeys(("vocab_size", "embedding_size", "type_vocab_size"), (1, 10_000_000)),
    **dict.fromkeys(("hidden_size", "d_model"), (1, 200_000)),
    **dict.fromkeys(("intermediate_size", "mlp_hidden_size"), (1, 2_000_000)),
    **dict.fromkeys(("num_hidden_layers", "n_layers"), (1, 2_000)),
    **dict.fromkeys(("num_attention_heads", "num_key_value_heads", "n_heads", "n_kv_heads"), (1, 10_000)),
    **dict.fromkeys(
        ("max_position_embeddings", "max_sequence_length", "original_max_position_embeddings"), (1, 1_000_000_000)
    ),
    **dict.fromkeys(("mask_token_id", "pad_token_id", "bos_token_id"), (-1, 10_000_000)),
    "head_dim": (1, 100_000),
    "block_size": BLOCK_SIZE[:2],
}
# Numbers of any kind, with exclusive lower and upper limits.
NUMBERS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("rms_norm_eps", "layer_norm_eps"), (0.0, 1.0)),
    "rope_theta": (1.0, 1e15),
    "initializer_range": (0.0, 1e6),
    "mlp_ratio": (0.0, 1000.0),
    # Settings that stretch rotary positions.
    **dict.fromkeys(("factor", "attention_factor", "low_freq_factor", "high_freq_factor"), (0.0, 1e4)),
    **dict.fromkeys(("beta_fast", "beta_slow"), (0.0, 1e4)),
    "partial_rotary_factor": (0.0, 1.0 + 1e-9),
}
ROPE = (
    "rope_theta", "rope_type", "type", "factor", "attention_factor", "low_freq_factor", "high_freq_factor", "beta_fast",
    "beta_slow", "partial_rotary_factor", "original_max_position_embeddings",
)  # fmt: skip
KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("model_type", "hidden_act", "rope_type", "type"), (str,)),
    **dict.fromkeys(("tie_word_embeddings", "weight_tying", "attention_bias", "mlp_bias", "shift_logits"), (bool,)),
    **dict.fromkeys(
        ("rope_parameters", "rope_scaling", "auto_map", "quantization_config", "chat_template_kwargs"), (dict,)
    ),
    "architectures": (list,),
}


def check_config(config: Mapping[str, object], where: object) -> None:
    """Raise InputError that names the first impossible value."""
    for key, value in config.items():
        if value is not None and (wanted := _wanted(key, value)):
            raise InputError(f"{where}/config.json: {key} must be {wanted}, got {_shown(value)}")
    names = config.get("architectures")
    if isinstance(names, list) and not all(isinstance(name, str) for name in names):
        raise InputError(f"{where}/config.json: architectures must be a list of names")
    ends = config.get("eos_token_id")
    if any(_wanted("pad_token_id", end) for end in (ends if isinstance(ends, list) else [ends]) if end is not None):
        raise InputError(f"{where}/config.json: eos_token_id must be a token id or a list of them, got {_shown(ends)}")
    width, heads, shared = (config.get(name) for name in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
    if isinstance(width, int) and isinstance(heads, int) and not config.get("head_dim") and width % heads:
        raise InputError(f"{where}/config.json: hidden_size {width} is not a multiple of num_attention_heads {heads}")
    if isinstance(heads, int) and isinstance(shared, int) and heads % shared:
        raise InputError(
            f"{where}/config.json: num_attention_heads {heads} is not a multiple of {shared} key-value heads"
        )
    for rope in (config.get("rope_parameters"), config.get("rope_scaling")):
        if isinstance(rope, dict):
            check_config({key: value for key, value in rope.items() if key in ROPE}, where)
            for key in ("long_factor", "short_factor"):
                for value in factors if isinstance(factors := rope.get(key, []), list) else ["no list"]:
                    check_config({"factor": value}, where)


def _wanted(key: str, value: object) -> str:
    """What a value should be, in words; empty where it is valid."""
    if key in WHOLE:
        low, high = WHOLE[key]
        return "" if type(value) is int and low <= value <= high else f"a whole number from {low} to {high}"
    if key in NUMBERS:
        low, high = NUMBERS[key]
        # A number of thousands of digits can be compared, but not converted by float().
        fits = isinstance(value, int | float) and not isinstance(value, bool) and low < value < high
        return "" if fits else f"a number above {low:g} and below {high:g}"
    kinds = KINDS.get(key)
    return "" if kinds is None or isinstance(value, kinds) else " or ".join(_NAMES[kind] for kind in kinds)


_NAMES = {str: "a text", bool: "true or false", dict: "an object", list: "a list"}


def _shown(value: object) -> str:
    # A number of more than 4,300 digits has no repr.
    return "a huge number" if isinstance(value, int) and abs(value) > 10**30 else f"{value!r:.60}"
