"""Limits on an unknown tokenizer: how much longer it may make a text, and how long it may take for a few words.

    check_growth(folder / "tokenizer.json")         # before it is opened
    check_pace(tokenizer, folder)                   # before it is used

Its patterns run in another library, which gives up a single match after some tenths of a second. A pattern that stays
just below that at every place of a text takes minutes for a page; a few characters are enough to find it.

Does not know what tokens mean.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nap.common.files import InputError, read_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Published tokenizers replace a character by one, or put one before a text. The growth of the steps of a list
# multiplies.
MOST_TIMES = 1000
# Texts that most patterns try to match, and the most processor seconds they may take; usually it is a thousandth.
TEXTS = ("a" * 512, " " * 512, "7" * 512, "Ann's 12 pears, (at 3.50) + 4 apples = ?\n\n\t苹果 ... e" * 11)
LENGTHS, PATIENCE = (8, 32, 128, 512), 1.0


def check_growth(path: Path) -> None:
    """Raise InputError for a tokenizer.json that makes a text longer beyond measure, or is invalid."""
    found = read_json(path)
    if not isinstance(found, Mapping):
        raise InputError(f"{path}: a JSON object was expected, got {type(found).__name__}")
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        if (times := _growth(found.get(part))) > MOST_TIMES:
            raise InputError(f"{path}: its {part} makes a text {times:.3g} times as long; {MOST_TIMES} is the most")


def _growth(part: object) -> float:
    """The most by which a step of a tokenizer, or a list of steps, can lengthen a text."""
    if not isinstance(part, Mapping):
        return 1.0
    times = 1.0
    for name in ("normalizers", "pretokenizers", "processors", "decoders"):
        steps = part.get(name)
        for step in steps if isinstance(steps, list) else []:
            times *= _growth(step)
    # The text that replaces a match of at least one character, and the text that is put before everything.
    pattern = part.get("pattern")
    replaced = len(str(pattern.get("String") or " ")) if isinstance(pattern, Mapping) else 1
    times *= max(1.0, len(str(part.get("content") or "")) / replaced) + len(str(part.get("prepend") or ""))
    template = part.get("single")
    return times * max(1, sum("Sequence" in step for step in template) if isinstance(template, list) else 1)


def check_pace(tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
    """Raise InputError for a tokenizer that takes too long for a short text."""
    for text in TEXTS:
        for length in LENGTHS:
            began = time.thread_time()
            tokenizer.encode(text[:length], add_special_tokens=False)
            if (spent := time.thread_time() - began) > PATIENCE:
                raise InputError(
                    f"{folder}: its tokenizer takes {spent:.1f} s for {length} characters ({text[:8]!r}...); "
                    "a pattern in its tokenizer.json does not end in a reasonable time"
                )
