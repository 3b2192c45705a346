"""The samples of a file that fit a canvas for training, and a list of the others, each with its reason.

Nothing is cut to fit. Tags inside a text are escaped, so that a model never learns to open or close a slot in the
middle of one. A canvas of one path gets the long chain: the same trajectories one after the other.

Does not mask or batch (batches.py).
"""

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import gcd
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nap.canvas.canvas import Canvas, CanvasSpec, Tokenizer, encode_tag, find_tag
from nap.common.files import InputError, atomic
from nap.common.folder import digest_files
from nap.data.samples import Sample, concatenated, read_samples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Dropped(NamedTuple):
    """A sample that is left out: its number in the file from 1, and why."""

    row: int
    id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The part of a file that is trained on.

    samples  those that fit, in the file's order, in the form of the canvas
    dropped  the others
    escaped  how many of the samples held a tag
    unsaid   how many of them have a summary for which the canvas has no slot
    masked   how many prompts hold the mask token
    tokens   positions of all canvases, prompts included
    digest   of the file's bytes
    """

    samples: list[Sample]
    dropped: list[Dropped]
    escaped: int
    unsaid: int
    masked: int
    tokens: int
    digest: str

    def stream(self, seed: int, batch_size: int) -> Callable[[int], Sample]:
        """Sample `index` of an endless stream: every epoch has each sample once, in a new order.

        A batch that goes on in the next epoch begins it with the samples that it holds least often.
        """

        @functools.lru_cache(maxsize=2)
        def order(epoch: int) -> NDArray[np.int64]:
            return _order(seed, epoch, len(self.samples), batch_size)

        def draw(index: int) -> Sample:
            epoch, place = divmod(index, len(self.samples))
            return self.samples[order(epoch)[place]]

        return draw

    def seen(self, draws: int) -> str:
        """How often each sample is among the first so many of the stream: `0 or 1 times`."""
        least, more = divmod(draws, len(self.samples))
        return f"{least} or {least + 1} times" if more else f"{least} time{'s' * (least != 1)}"


def _order(seed: int, epoch: int, samples: int, batch_size: int) -> NDArray[np.int64]:
    # What a batch holds already depends on the epochs before, back to one that a batch begins with.
    found = held = np.zeros(0, np.int64)
    for number in range(epoch - epoch % (batch_size // gcd(samples, batch_size)), epoch + 1):
        permuted = np.random.default_rng([seed, number, 2]).permutation(samples)
        begun = number * samples % batch_size
        counts = np.bincount(held[len(held) - begun :], minlength=samples)
        rarest = permuted[np.argsort(counts[permuted], kind="stable")][: batch_size - begun]
        found = np.concatenate([rarest, permuted[~np.isin(permuted, rarest)]])
        held = np.concatenate([held, found])[-batch_size:]
    return found


def read_corpus(
    path: str | FilePath, paths: int, lay_out: Callable[[Sample], Canvas], mask_id: int | None = None
) -> Corpus:
    """Read a Parquet file of samples for a canvas with this number of paths.

    `lay_out` gives a sample's canvas and raises InputError where it has none. Raises InputError if no sample is left.
    """
    samples, dropped, escaped, unsaid, masked, tokens = [], [], 0, 0, 0, 0
    for row, sample in enumerate(read_samples(path), 1):
        try:
            _check_texts(sample)
            clean = escaped_tags(sample)
            shaped = concatenated(clean) if paths == 1 and len(clean.paths) > 1 else clean
            canvas = lay_out(shaped)
        except InputError as error:
            dropped.append(Dropped(row, sample.problem.id, str(error)))
            continue
        escaped += clean != sample
        unsaid += bool(sample.summary.strip()) and not canvas.spec.summary_tokens
        # No slot of a full canvas holds a mask.
        masked += mask_id in canvas.ids
        tokens += len(canvas)
        samples.append(shaped)
    if not samples:
        reason = f"; row 1: {dropped[0].reason}" if dropped else ""
        raise InputError(f"{path}: none of its {len(dropped)} samples can be trained on{reason}")
    digest = digest_files([FilePath(path)])
    return Corpus(
        samples=samples, dropped=dropped, escaped=escaped, unsaid=unsaid, masked=masked, tokens=tokens, digest=digest
    )


def _check_texts(sample: Sample) -> None:
    if not sample.paths:
        raise InputError("it has no paths")
    for number, path in enumerate(sample.paths, 1):
        if not path.text.strip():
            raise InputError(f"path {number} is empty")


def check_every_slot(sample: Sample, spec: CanvasSpec, tokenizer: Tokenizer) -> None:
    """Raise InputError for a path that does not fit every slot: its place is drawn, and closing tags of text differ."""
    longest = max(len(encode_tag(closing, tokenizer)) for code, _, _, closing in spec.slots if code < spec.paths)
    for number, path in enumerate(sample.paths, 1):
        takes = len(tokenizer.encode(path.text, add_special_tokens=False)) + longest
        if takes > spec.path_tokens:
            raise InputError(
                f"path {number} takes {takes} tokens with the longest closing tag, a slot has {spec.path_tokens} "
                "(each place is drawn: shuffle_paths)"
            )


def check_texts(sample: Sample, spec: CanvasSpec, tokenizer: "PreTrainedTokenizerBase", ends: Sequence[int]) -> None:
    """Raise InputError for words that the tokenizer would silently replace by its unknown token, and for a path or a
    summary that holds one of `ends`, which end a text or a turn in a decode.

    Texts are looked at, not their canvas: where the unknown token is also the padding or the end of text, as GPT-2's
    is, every canvas holds it, and a chat template may begin with it. A prompt may name it, as in a decode.
    """
    encode, unknown = partial(tokenizer.encode, add_special_tokens=False), tokenizer.unk_token_id
    answers = _answers(sample, spec)
    encoded = {what: encode(text) for what, text in answers.items()}
    if unknown is not None:
        prompt = sample.problem.prompt.replace(str(tokenizer.unk_token), " ")
        if any(unknown in ids for ids in (encode(prompt), *encoded.values())):
            named = [word for word in " ".join([prompt, *answers.values()]).split() if unknown in encode(word)]
            raise InputError(f"the tokenizer does not know {', '.join(map(repr, named[:3])) or 'a word of it'}")
    for what, ids in encoded.items():
        if found := [token for token in ids if token in ends]:
            raise InputError(
                f"{what} holds {tokenizer.decode(found[:1])!r}, the model's end of text, where a decode would cut it; "
                "take it out first"
            )


def _answers(sample: Sample, spec: CanvasSpec) -> dict[str, str]:
    """The texts that this canvas has slots for, under the names that messages give them."""
    summary = {"the summary": sample.summary} if spec.summary_tokens else {}
    return {f"path {number}": path.text for number, path in enumerate(sample.paths, 1)} | summary


def escaped_tags(sample: Sample) -> Sample:
    """The sample with the `<` of every tag inside its paths and summary written as `&lt;`."""
    paths = tuple(replace(path, text=escape(path.text)) for path in sample.paths)
    return Sample(problem=sample.problem, paths=paths, summary=escape(sample.summary))


def escape(text: str) -> str:
    """A text without canvas tags. `<think 1>` becomes `&lt;think 1>`."""
    while tag := find_tag(text):
        text = text.replace(tag, tag.replace("<", "&lt;"))
    return text


def write_dropped(dropped: list[Dropped], path: FilePath) -> None:
    """One JSON object a line: row, id, reason."""
    with atomic(path, "wb") as file:
        for one in dropped:
            # Half a character, which no file can hold, is written as a JSON escape.
            file.write(json.dumps(one._asdict(), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
