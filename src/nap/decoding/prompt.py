"""From a user's text to an empty canvas: the prompt's ids in the model's chat template, and the slots laid out.

A text with gaps can stand in place of the slots. Does not know tasks, and decodes nothing.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from nap.canvas.canvas import Canvas, CanvasSpec, layout, usual_tokens
from nap.canvas.infill import Infill, lay_out
from nap.canvas.visibility import Attention
from nap.common.bounds import CHARACTERS, check
from nap.common.files import InputError, placed
from nap.common.records import Json
from nap.common.text import printable
from nap.data.problems import Problem
from nap.decoding.prompting import PLAIN, Prompting
from nap.decoding.template import as_turns, check_keyword
from nap.models.checkpoint import foreign
from nap.models.denoiser import Denoiser


def prompt_ids(denoiser: Denoiser, text: str, prompting: Prompting = PLAIN) -> list[int]:
    """The ids of a user's text: as a turn of the model's chat template if there is one, or unchanged if raw.

    No other special tokens are added. Raises InputError where the checkpoint has no tokenizer.
    """
    return encode_prompt(text, readable(denoiser), prompting, denoiser.setting.get("chat_template_kwargs") or {})


def readable(denoiser: Denoiser) -> Any:
    """The model's tokenizer. Raises InputError where the checkpoint has none."""
    if denoiser.tokenizer is None:
        raise InputError(
            f"{denoiser.setting.get('model')} has no tokenizer, so it cannot read text; "
            "put its tokenizer.json into its folder"
        )
    return denoiser.tokenizer


def encode_prompt(
    text: str, tokenizer: Any, prompting: Prompting = PLAIN, usual: Mapping[str, Json] = MappingProxyType({})
) -> list[int]:
    """The ids of a prompt, in training as in decoding: turns of the tokenizer's chat template if it has one.

    usual  keywords that the model gives its chat template by default; `prompting.keywords` override them

    Raises InputError for a template or a tokenizer that fails on the text, and for keywords that change nothing.
    """
    check("characters of a prompt", len(text), CHARACTERS)
    said, turns = getattr(tokenizer, "chat_template", None), prompting.turns(text)
    if said and not prompting.raw:
        for name, _ in prompting.keywords:
            check_keyword(name, said)
        turns = [("system", prompting.system), *turns] if prompting.system else turns
        text = as_turns(turns, tokenizer, {**usual, **dict(prompting.keywords)})
    elif prompting.keywords or prompting.examples_as == "turns":
        what = prompting.keywords[0][0] if prompting.keywords else "turns of examples"
        raise InputError(f"there is no chat template to give {what} to; drop it")
    else:
        text = "\n\n".join(filter(None, [prompting.system, prompting.text(text)]))
    with foreign("the checkpoint's tokenizer fails on the prompt"):
        return list(tokenizer.encode(text, add_special_tokens=False))


def check_length(denoiser: Denoiser, length: int) -> None:
    """Raise InputError for a canvas of `length` tokens that is longer than the model's positions."""
    if denoiser.max_length is not None and length > denoiser.max_length:
        raise InputError(
            f"a canvas of {length} tokens is too long for {denoiser.setting.get('model')}, which has "
            f"{denoiser.max_length} positions; shorten the prompt, the slots or the given text"
        )


def canvas_spec(denoiser: Denoiser, wanted: CanvasSpec | None, attention: Attention | None = None) -> CanvasSpec:
    """The canvas asked for, or the model's own, with `attention` if given. Raises InputError if there is neither."""
    spec = wanted or denoiser.canvas
    if spec is None:
        tokens = usual_tokens(denoiser.max_length)
        raise InputError(
            f"{denoiser.setting.get('model')} does not say what canvas it was trained on (canvas.json); give one: "
            f"--canvas plain --path-tokens {tokens}, or --canvas nap with --paths, --path-tokens, --summary-tokens; in "
            f"Python canvas=nap.CanvasSpec.plain({tokens}), or nap.CanvasSpec with paths, path_tokens, summary_tokens"
        )
    return spec.under(attention)


def asked_canvas(denoiser: Denoiser, wanted: CanvasSpec | None, attention: Attention | None = None) -> CanvasSpec:
    """`canvas_spec` with a warning where the model was trained with another attention. Called once, before a decode."""
    spec, own = canvas_spec(denoiser, wanted, attention), denoiser.canvas
    if own and own.attention != spec.attention:
        logging.getLogger(__name__).warning(
            "%s was trained under %s attention and is decoded under %s: expect other, and mostly worse, answers",
            denoiser.setting.get("model"), own.attention, spec.attention,
        )  # fmt: skip
    return spec


def canvas_of(
    denoiser: Denoiser, problem: Problem, spec: CanvasSpec, prompting: Prompting = PLAIN, *, shrinks: bool = False
) -> Canvas:
    """The empty canvas of a problem; where it `shrinks`, a plain slot has at most the positions after the prompt.

    Raises InputError for a prompt with a word that the model does not know, or that leaves no room for the canvas.
    """
    with placed(problem.id):
        ids = known_ids(denoiser, problem.prompt, prompting)
        if shrinks and spec.kind == "plain" and denoiser.max_length is not None and len(ids) < denoiser.max_length:
            spec = replace(spec, path_tokens=min(spec.path_tokens, denoiser.max_length - len(ids)))
        canvas = layout(ids, spec, denoiser.tokenizer, denoiser.mask_id, problem_id=problem.id)
        check_length(denoiser, len(canvas))
    return canvas


def infilled(denoiser: Denoiser, problem: Problem, infill: Infill, prompting: Prompting = PLAIN) -> Canvas:
    """The canvas of a problem's prompt, which may be empty, and a text with open gaps.

    Raises InputError as `canvas_of` does, for a text without a gap, and for settings of a prompt that is not there.
    """
    with placed(problem.id):
        if not problem.prompt and prompting != Prompting(raw=prompting.raw):
            raise InputError("there is no prompt that its settings could be for; give one, or drop them")
        ids = known_ids(denoiser, problem.prompt, prompting) if problem.prompt else []
        canvas = lay_out(ids, infill, readable(denoiser), denoiser.mask_id, problem_id=problem.id)
        said = " ".join(piece for piece in infill.pieces() if isinstance(piece, str))
        _check_words(denoiser, said, canvas.ids.tolist(), "text")
        check_length(denoiser, len(canvas))
    return canvas


def known_ids(denoiser: Denoiser, text: str, prompting: Prompting = PLAIN) -> list[int]:
    """`prompt_ids`. Raises InputError for a word that the model does not know, and for what is no text, as well.

    Warns of a mask in the prompt, which stays one: only slots are decoded.
    """
    if not text.isascii() and re.search("[\ud800-\udfff]", text):
        raise InputError("the prompt is not valid text: it holds half a character (a lone surrogate)")
    try:
        ids = prompt_ids(denoiser, text, prompting)
    except InputError:
        # A tokenizer of whole words that has no token for all others fails on the whole text.
        if denoiser.tokenizer is not None and (word := next(_failing(denoiser.tokenizer, text), None)):
            raise _unknown(denoiser, word) from None
        raise
    _check_words(denoiser, text, ids)
    if masks := ids.count(denoiser.mask_id):
        logging.getLogger(__name__).warning(
            "the prompt %r holds the model's own mask token (%s) %d times, which stays a hole in it; take it out, or "
            "give a text with gaps (--infill)",
            printable(text), readable(denoiser).decode([denoiser.mask_id]), masks,
        )  # fmt: skip
    return ids


def _failing(tokenizer: Any, text: str) -> Iterator[str]:
    """The words that the tokenizer fails on."""
    for word in text.split():
        try:
            with foreign("the tokenizer fails"):
                tokenizer.encode(word, add_special_tokens=False)
        except InputError:
            yield word


def _unknown(denoiser: Denoiser, word: str, what: str = "prompt") -> InputError:
    return InputError(f"{denoiser.setting.get('model')} does not know the word {word[:40]!r} of the {what}")


def _check_words(denoiser: Denoiser, text: str, ids: Sequence[int], what: str = "prompt") -> None:
    """Raise InputError for a word that the tokenizer would silently replace."""
    tokenizer, unknown = denoiser.tokenizer, getattr(denoiser.tokenizer, "unk_token_id", None)
    if unknown is None or unknown not in ids:
        return
    for word in text.split():
        if word != tokenizer.unk_token and unknown in tokenizer.encode(word, add_special_tokens=False):
            raise _unknown(denoiser, word, what)
