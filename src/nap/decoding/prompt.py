"""From a user's text to an empty canvas: the prompt's ids in the model's chat template, and the slots laid out.

Does not know tasks, and decodes nothing.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from nap.canvas.canvas import Canvas, CanvasSpec, layout
from nap.canvas.visibility import Attention
from nap.common.files import InputError
from nap.common.records import Json
from nap.data.problems import Problem
from nap.decoding.prompting import PLAIN, Prompting
from nap.decoding.template import as_turn, check_keyword
from nap.models.checkpoint import foreign
from nap.models.denoiser import Denoiser


def prompt_ids(denoiser: Denoiser, text: str, prompting: Prompting = PLAIN) -> list[int]:
    """The ids of a user's text: as a turn in the model's chat template if it has one, and as it stands if raw.

    No other special tokens are added. Raises InputError where the checkpoint has no tokenizer.
    """
    if denoiser.tokenizer is None:
        raise InputError(
            f"{denoiser.setting.get('model')} has no tokenizer, so it cannot read text; "
            "put its tokenizer.json into its folder"
        )
    return encode_prompt(text, denoiser.tokenizer, prompting, denoiser.setting.get("chat_template_kwargs") or {})


def encode_prompt(
    text: str, tokenizer: Any, prompting: Prompting = PLAIN, usual: Mapping[str, Json] = MappingProxyType({})
) -> list[int]:
    """The ids of a prompt, in training as in decoding: a turn of the tokenizer's chat template if it has one.

    usual  keywords that the model's own prompts give the chat template; `prompting.keywords` go before them

    Raises InputError for a template or a tokenizer that fails on the text, and for keywords that change nothing.
    """
    text, said = prompting.text(text), getattr(tokenizer, "chat_template", None)
    if said and not prompting.raw:
        for name, _ in prompting.keywords:
            check_keyword(name, said)
        text = as_turn(text, tokenizer, {**usual, **dict(prompting.keywords)}, prompting.system)
    elif prompting.keywords:
        raise InputError(f"there is no chat template to give {prompting.keywords[0][0]} to; drop it")
    elif prompting.system:
        text = f"{prompting.system}\n\n{text}"
    with foreign("the checkpoint's tokenizer fails on the prompt"):
        return list(tokenizer.encode(text, add_special_tokens=False))


def check_length(denoiser: Denoiser, length: int) -> None:
    """Raise InputError for a canvas of `length` tokens that the model has no positions for."""
    if denoiser.max_length is not None and length > denoiser.max_length:
        raise InputError(
            f"a canvas of {length} tokens is too long for {denoiser.setting.get('model')}, which has "
            f"{denoiser.max_length} positions; shorten the prompt, the paths or the summary"
        )


def canvas_spec(denoiser: Denoiser, wanted: CanvasSpec | None, attention: Attention | None = None) -> CanvasSpec:
    """The canvas asked for, or the model's own; under `attention`, if given. Raises InputError if there is neither."""
    spec = wanted or denoiser.canvas
    if spec is None:
        raise InputError(
            f"{denoiser.setting.get('model')} does not say what canvas it was trained on (canvas.json); "
            "give one: --canvas plain --path-tokens 256, or --canvas nap with --paths, --path-tokens, --summary-tokens"
        )
    return spec.under(attention)


def asked_canvas(denoiser: Denoiser, wanted: CanvasSpec | None, attention: Attention | None = None) -> CanvasSpec:
    """`canvas_spec`, with a warning where the model was trained under another attention: once, before a decode."""
    spec, own = canvas_spec(denoiser, wanted, attention), denoiser.canvas
    if own and own.attention != spec.attention:
        logging.getLogger(__name__).warning(
            "%s was trained under %s attention and is decoded under %s: expect other, and mostly worse, answers",
            denoiser.setting.get("model"), own.attention, spec.attention,
        )  # fmt: skip
    return spec


def canvas_of(denoiser: Denoiser, problem: Problem, spec: CanvasSpec, prompting: Prompting = PLAIN) -> Canvas:
    """The empty canvas of a problem. Raises InputError for a prompt with a word that the model does not know, or that
    leaves no room for the canvas.
    """
    try:
        if not problem.prompt.isascii() and re.search("[\ud800-\udfff]", problem.prompt):
            raise InputError("the prompt is not valid text: it holds half a character (a lone surrogate)")
        ids = prompt_ids(denoiser, problem.prompt, prompting)
        _check_words(denoiser, problem.prompt, ids)
        canvas = layout(ids, spec, denoiser.tokenizer, denoiser.mask_id, problem_id=problem.id)
        check_length(denoiser, len(canvas))
    except InputError as error:
        raise InputError(f"{problem.id}: {error}") from None
    return canvas


def _check_words(denoiser: Denoiser, text: str, ids: Sequence[int]) -> None:
    """Raise InputError for a word that the tokenizer would silently replace."""
    tokenizer, unknown = denoiser.tokenizer, getattr(denoiser.tokenizer, "unk_token_id", None)
    if unknown is None or unknown not in ids:
        return
    for word in text.split():
        if word != tokenizer.unk_token and unknown in tokenizer.encode(word, add_special_tokens=False):
            raise InputError(f"{denoiser.setting.get('model')} does not know the word {word[:40]!r} of the prompt")
