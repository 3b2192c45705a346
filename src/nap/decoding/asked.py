"""What a user asks for, as canvases: prompts with open slots, or texts with gaps.

    canvases = laid_out(denoiser, pair(prompts, texts, gap_tokens), spec)

Does not read files or flags, and does not encode (prompt.py).
"""

from collections.abc import Callable, Sequence

from nap.canvas.canvas import Canvas, CanvasSpec
from nap.canvas.infill import GAP_TOKENS, Infill
from nap.common.files import InputError
from nap.data.problems import Problem
from nap.decoding.prompt import canvas_of, infilled
from nap.decoding.prompting import PLAIN, Prompting
from nap.models.denoiser import Denoiser

Asked = tuple[str, Infill | None]


def pair(prompts: Sequence[str], texts: Sequence[tuple[str | None, str]], gap_tokens: int | None) -> list[Asked]:
    """Each prompt with its text with gaps, if any.

    A prompt that comes with a text is used first. A single prompt goes with all texts, no prompt counts as an empty
    one, and several prompts go with as many texts. Raises InputError where there is nothing to decode, the numbers do
    not match, or `gap_tokens` is the length of no gap.
    """
    if not texts and gap_tokens is not None:
        raise InputError("the tokens of a gap need a text with gaps; give one (--infill TEXT), or drop them")
    if not texts and not prompts:
        raise InputError(
            "there is no prompt; give one or more (--prompt TEXT, --prompts-from FILE), or a text with gaps (--infill "
            "'The capital of [MASK:2] is Paris')"
        )
    if not texts:
        return [(prompt, None) for prompt in prompts]
    if len(prompts) > 1 and len(prompts) != len(texts):
        raise InputError(
            f"{len(prompts)} prompts and {len(texts)} texts with gaps do not match; give one prompt, or one a text"
        )
    given = [*prompts] if len(prompts) > 1 else [*prompts, ""][:1] * len(texts)
    if gap_tokens is not None and not any(Infill(text, 1).pieces() != Infill(text, 2).pieces() for _, text in texts):
        raise InputError("gap_tokens (--gap-tokens) is the length of a gap ___, and there is none; drop it")
    tokens = GAP_TOKENS if gap_tokens is None else gap_tokens
    return [(own or prompt, Infill(text, tokens)) for prompt, (own, text) in zip(given, texts, strict=True)]


def problems_of(asked: Sequence[Asked]) -> list[Problem]:
    """The prompts as problems with names and without a known answer."""
    return [
        Problem(id=f"{'text' if infill else 'prompt'}-{number}", prompt=prompt, answer="")
        for number, (prompt, infill) in enumerate(asked, 1)
    ]


def laid_out(
    denoiser: Denoiser, asked: Sequence[Asked], spec: Callable[[], CanvasSpec], prompting: Prompting = PLAIN
) -> list[Canvas]:
    """The canvases. `spec` is that of the open slots, and is asked for only where there are some."""
    slots = spec() if any(infill is None for _, infill in asked) else None
    canvases = []
    for problem, (_, infill) in zip(problems_of(asked), asked, strict=True):
        if infill is not None:
            canvases.append(infilled(denoiser, problem, infill, prompting))
        elif slots is not None:
            canvases.append(canvas_of(denoiser, problem, slots, prompting))
    return canvases
