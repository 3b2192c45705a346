"""A masked diffusion language model as the one function that decoding needs: logits at the positions asked about.

`load` opens a folder, a bundled model or a hub name. Weights are read from safetensors into transformers' own classes,
which see in both directions through an explicit mask, or without one where every position sees every position. With
its tensors renamed a checkpoint gives what its published code gives, and none of that code is run.

Shape letters: B batch, L canvas length (prompt included), V vocabulary, N positions asked about, D hidden size.
Does not sample or commit (decode.py), keep keys and values (cache.py), or know one family from another (families.py).
"""

import functools
import re
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from nap import adapter, checkpoint
from nap.canvas import CanvasSpec, Layout
from nap.families import FAMILIES, Config, Family, family_of, native_config, special_ids
from nap.files import InputError
from nap.grow import open_weights
from nap.machine import choose_dtype, keep_memory, quicken, usable_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Denoiser(Protocol):
    """What decoding needs of a model.

    mask_id, pad_id  token ids
    eos_ids          ids that end a text or a turn
    tokenizer        None for a checkpoint that has none
    setting          for traces: model, revision, family, dtype, shift_logits, block_size
    max_length       the longest canvas; None where the model sets no limit
    canvas           the canvas that it was trained on, where its checkpoint says
    device           where its weights are and its inputs must be
    """

    mask_id: int
    pad_id: int
    eos_ids: tuple[int, ...]
    tokenizer: Any
    setting: dict[str, Any]
    max_length: int | None
    canvas: CanvasSpec | None

    @property
    def device(self) -> torch.device:
        """Where inputs must be."""
        ...

    def logits(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor]) -> Tensor:
        """logits_NV in float32 for the tokens at (rows_N, positions_N), in one forward."""
        ...


@dataclass(eq=False, kw_only=True)
class _Loaded:
    """What all loaded models share: everything of `Denoiser` but the forward."""

    model: "PreTrainedModel"
    tokenizer: Any
    mask_id: int
    pad_id: int
    eos_ids: tuple[int, ...]
    shift: bool
    setting: dict[str, Any]
    max_length: int | None
    canvas: CanvasSpec | None

    def __post_init__(self) -> None:
        # Once: the model's own property walks its modules.
        self._device = self.model.device

    @property
    def device(self) -> torch.device:
        """Where the weights are and inputs must be."""
        return self._device

    def _pick(self, states: Tensor, at: tuple[Tensor, Tensor]) -> Tensor:
        """The entries of a [B, L, ...] tensor that predict the tokens at `at`."""
        rows_N, positions_N = at
        return states[rows_N, predicted_from(positions_N, self.shift)]


def predicted_from(positions_N: Tensor, shift: bool) -> Tensor:
    """The positions of the states that predict the tokens at `positions_N`.

    Shifted models predict a token from the state before it; the first token has only its own.
    """
    return (positions_N - 1).clamp(min=0) if shift else positions_N


@dataclass(eq=False, kw_only=True)
class NativeDenoiser(_Loaded):
    """A checkpoint in one of transformers' own classes."""

    block_size: int | None

    def __post_init__(self) -> None:
        super().__post_init__()
        kind = {"dtype": self.model.dtype, "device": self.device, "block_size": self.block_size}
        self._mask = _Remembered(functools.partial(attention_mask, **kind))
        self._body, self._head = _parts(self.model)

    @torch.no_grad()
    def hidden(self, ids_BL: Tensor, layout: Layout) -> Tensor:
        """The last hidden states, [B, L, D], before any shift and the output head."""
        assert ids_BL.shape == layout.region_BL.shape, f"ids {ids_BL.shape}, layout {layout.region_BL.shape}"
        return self._body(ids_BL, self._mask(layout))

    @torch.no_grad()
    def logits(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor]) -> Tensor:
        """logits_NV in float32 for the tokens at (rows_N, positions_N). Only their states go through the head."""
        return self._head(self._pick(self.hidden(ids_BL, layout), at)).float()


class RemoteDenoiser(_Loaded):
    """A checkpoint that runs its own code, called as `model(ids).logits`: all positions see all, none is padding."""

    @torch.no_grad()
    def logits(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor]) -> Tensor:
        """logits_NV in float32 for the tokens at (rows_N, positions_N). Raises InputError if the layout hides any."""
        if layout.visible_BLL is not None:
            raise InputError(
                f"{self.setting['model']} runs its own code, which is only asked for full attention over rows of one "
                "length; use attention 'full' and a batch of 1, or a natively supported family: " + ", ".join(FAMILIES)
            )
        return self._pick(self.model(ids_BL).logits, at).float()


def _parts(model: Any) -> tuple[Callable[[Tensor, Tensor | None], Tensor], Callable[[Tensor], Tensor]]:
    """(body, output head): ids_BL and a mask to states [B, L, D], and states to logits.

    The body is the model's own layers but not its own `forward`, which may make a causal mask where none is given:
    transformers 4.57 does whenever it keeps no cache, and 5 does under torch.compile.
    """
    if model.config.model_type == "bert":
        return functools.partial(_encode, model.bert), model.cls
    return functools.partial(_decode, model.model), model.lm_head


def _decode(body: Any, ids_BL: Tensor, mask: Tensor | None) -> Tensor:
    states_BLD = body.embed_tokens(ids_BL)
    rotary = body.rotary_emb(states_BLD, torch.arange(ids_BL.shape[1], device=ids_BL.device)[None])
    for layer in body.layers:
        states_BLD = layer(states_BLD, attention_mask=mask, position_embeddings=rotary)
    return body.norm(states_BLD)


def _encode(body: Any, ids_BL: Tensor, mask: Tensor | None) -> Tensor:
    return body.encoder(body.embeddings(ids_BL), attention_mask=mask)[0]


def attention_mask(
    layout: Layout, *, dtype: torch.dtype, device: torch.device, block_size: int | None = None
) -> Tensor | None:
    """What to add to attention scores, [B, 1, L, L] or [1, 1, L, L] where the rows agree; None where nothing is hidden.

    With `block_size` a position also sees only its own block of that many positions and earlier ones.
    """
    visible_BLL = layout.visible_BLL
    if block_size is not None:
        block_L = np.arange(layout.region_BL.shape[1]) // block_size
        earlier_LL = block_L[:, None] >= block_L
        visible_BLL = earlier_LL[None] if visible_BLL is None else visible_BLL & earlier_LL
    if visible_BLL is None:
        return None
    if (visible_BLL == visible_BLL[:1]).all():
        visible_BLL = visible_BLL[:1]
    hidden_BLL = torch.from_numpy(~visible_BLL).to(device)
    added_BLL = torch.zeros(hidden_BLL.shape, dtype=dtype, device=device)
    # Not -inf: a row that is all padding must come out as numbers.
    return added_BLL.masked_fill_(hidden_BLL, torch.finfo(dtype).min)[:, None]


class _Remembered:
    """A function of a Layout, computed once for each as long as it lives: a canvas keeps its layout for many steps."""

    def __init__(self, build: Callable[[Layout], Tensor | None]) -> None:
        self.build = build
        self.known: dict[int, Tensor | None] = {}

    def __call__(self, layout: Layout) -> Tensor | None:
        # By identity: a layout holds arrays, so it has no hash.
        if id(layout) not in self.known:
            self.known[id(layout)] = self.build(layout)
            weakref.finalize(layout, self.known.pop, id(layout))
        return self.known[id(layout)]


def load(
    name: str,
    *,
    revision: str | None = None,
    device: str = "cpu",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    mask_id: int | None = None,
    shift: bool | None = None,
    block_size: int | None = None,
) -> NativeDenoiser | RemoteDenoiser:
    """Open a folder, a bundled model such as `arith-nap`, or a hub name such as `GSAI-ML/LLaDA-8B-Instruct`.

    The folder of a LoRA adapter opens as its base with the adapter merged into it, in memory.

    dtype              float32, bfloat16, float16, or auto: measured on this device, see `machine.choose_dtype`
    trust_remote_code  run the checkpoint's own Python instead; a hub name then needs `revision`, a full commit hash
    mask_id, shift, block_size  go before what the checkpoint and its family say

    Raises InputError for anything about the checkpoint or a setting that does not fit.
    """
    if trust_remote_code and not Path(name).is_dir() and not re.fullmatch(r"[0-9a-f]{40}", revision or ""):
        raise InputError(
            f"trust_remote_code runs code from {name}, so its revision must be a full commit hash (40 hex digits), "
            f"got {revision!r}; read the code at one commit and give that"
        )
    if block_size is not None and (block_size < 1 or trust_remote_code):
        raise InputError(f"block_size must be at least 1, and none with trust_remote_code; got {block_size}")
    place = usable_device(device)
    folder, commit = checkpoint.find(name, revision, code=trust_remote_code)
    base = adapter.base_of(folder) if adapter.is_adapter(folder) and not trust_remote_code else None
    config = checkpoint.read_config(adapter.described_by(folder, base) if base else folder)
    setting = {"model": name, "revision": commit, "family": config.get("model_type")}
    if trust_remote_code:
        return _load_remote(folder, config, setting, place, dtype, mask_id, shift)

    family = family_of(config, folder)
    native = native_config(config, folder)
    tokenizer = checkpoint.read_tokenizer(folder) or (checkpoint.read_tokenizer(base.folder) if base else None)
    ids = special_ids(native, family, tokenizer, folder, mask_id)
    chosen = {
        "shift_logits": native.get("shift_logits", family.shift) if shift is None else shift,
        "block_size": native.get("block_size", family.block_size) if block_size is None else block_size,
    }
    number = choose_dtype(dtype, place, native["hidden_size"])
    canvas = checkpoint.read_canvas(folder) or (checkpoint.read_canvas(base.folder) if base else None)
    if base:
        model = adapter.merged(folder, base, dtype=number, device=place)
    else:
        # In the config, so that the model says them itself wherever it is saved.
        told = native | chosen | {"mask_token_id": ids.mask_id}
        model = open_weights(folder, told, family, dtype=number, device=str(place))
    if place.type == "cpu":
        # Not before: what loading frees is of no more use.
        keep_memory()
    return NativeDenoiser(
        model=quicken(model),
        tokenizer=tokenizer,
        **ids._asdict(),
        shift=chosen["shift_logits"],
        block_size=chosen["block_size"],
        setting=setting | chosen | {"dtype": str(number).removeprefix("torch.")},
        max_length=native.get("max_position_embeddings"),
        canvas=canvas,
    )


def _load_remote(
    folder: Path,
    config: Config,
    setting: dict[str, Any],
    device: torch.device,
    dtype: str,
    mask_id: int | None,
    shift: bool | None,
) -> RemoteDenoiser:
    from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, __version__

    # Where the family is known its conventions hold, whoever's code runs.
    family = FAMILIES.get(str(config.get("model_type")), Family(native="llama"))
    number = choose_dtype(dtype, device, config.get("hidden_size") or config.get("d_model") or 0)
    maker = AutoModelForCausalLM if "AutoModelForCausalLM" in config.get("auto_map", {}) else AutoModel
    try:
        model = maker.from_pretrained(folder, trust_remote_code=True, use_safetensors=True, dtype=number)
        written = (folder / "tokenizer_config.json").is_file()
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True) if written else None
    except Exception as error:  # It is the checkpoint's code: it may raise anything.
        reason = checkpoint.brief(error)
        raise InputError(f"{folder}: its own code does not load with transformers {__version__} ({reason})") from None
    full = model.config.to_dict()
    shift = family.shift if shift is None else shift
    return RemoteDenoiser(
        model=model.to(device).eval(),  # pyright: ignore[reportArgumentType]  # its decorator hides the signature
        tokenizer=tokenizer,
        **special_ids(full, family, tokenizer, folder, mask_id)._asdict(),
        shift=shift,
        setting=setting | {"shift_logits": shift, "dtype": str(number).removeprefix("torch."), "remote_code": True},
        max_length=full.get("max_position_embeddings") or full.get("max_sequence_length"),
        canvas=checkpoint.read_canvas(folder),
    )


def check_length(denoiser: Denoiser, length: int) -> None:
    """Raise InputError for a canvas of `length` tokens that the model has no positions for."""
    if denoiser.max_length is not None and length > denoiser.max_length:
        raise InputError(
            f"a canvas of {length} tokens is too long for {denoiser.setting.get('model')}, which has "
            f"{denoiser.max_length} positions; shorten the prompt, the paths or the summary"
        )


def prompt_ids(denoiser: Denoiser, text: str, raw: bool = False) -> list[int]:
    """The ids of a user's text: as a turn in the model's chat template if it has one, and as it stands if `raw`.

    No other special tokens are added. Raises InputError where the checkpoint has no tokenizer.
    """
    if denoiser.tokenizer is None:
        raise InputError(
            f"{denoiser.setting.get('model')} has no tokenizer, so it cannot read text; "
            "put its tokenizer.json into its folder"
        )
    return encode_prompt(text, denoiser.tokenizer, raw)


def encode_prompt(text: str, tokenizer: Any, raw: bool = False) -> list[int]:
    """The ids of a prompt, in training as in decoding: a turn of the tokenizer's chat template if it has one."""
    if not raw and getattr(tokenizer, "chat_template", None):
        turn = [{"role": "user", "content": text}]
        text = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    return list(tokenizer.encode(text, add_special_tokens=False))
