"""Denoisers with exactly known probabilities: `exact:FILE` is a law fitted to the texts of a file.

A file of rows (JSON, Parquet, CSV) has them in the field `text`; any other file is a text as it is.

    load("exact:corpus.txt,order=2")             # any.py: an n-gram of words
    load("exact:corpus.txt,law=hmm,states=64,unit=letter")

Whatever is written on a canvas, the probabilities are exactly those of the law given all of it: a perfect model,
without training. Every slot is a text that continues the prompt, independent of the other slots, so P paths are P
independent frontiers. Headers and tags are not part of any text. Settings, after the file:

    law=ngram      or hmm
    order=2        of an n-gram: it looks order - 1 tokens back
    backoff=0.1    of an n-gram: the chance to draw from the context one token shorter
    states=32      of a hidden Markov model
    unit=word      what a token is: a word between blanks, or a letter
    per=line       what a text is: a line, or file: the whole file, of a file of rows each row
    vocabulary=4096  tokens at most, the most frequent; the rest is <unk>
    seed=0         of the fit of a hidden Markov model

`exact:grids` and `exact:agree` are the laws of tasks whose answers are known (exact_task.py).

Letters: B rows, L canvas, N positions asked about, V vocabulary, S states. Does not fit (fitting.py) or compute
messages (laws.py); what a decode cost against the law is exact_cost.py.
"""

import hashlib
from collections import Counter, OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from nap.canvas.canvas import CanvasSpec
from nap.canvas.visibility import Layout
from nap.common.files import InputError, read_text
from nap.common.named import read_settings
from nap.common.rows import holds_rows, read_rows
from nap.common.text import check_known, check_text, lines_of
from nap.data.trace import PROMPT
from nap.models.fitting import MOST_TOKENS, fit_hmm, fit_ngram
from nap.models.laws import MASKED, Floats, Ints, Law, Reader, Reading
from nap.models.silent import Computed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SCHEME = "exact:"
# What its tokenizer has beside the law's tokens: the tags of as many paths.
SPECIAL = ("<mask>", "<pad>", *CanvasSpec(paths=16).special_tokens)
UNKNOWN = "<unk>"
# The most bytes of messages that are kept between forwards, and of a file.
KEPT, LARGEST = 256 << 20, 64 << 20


# The settings of one law alone.
OWN = {"ngram": ("order", "backoff"), "hmm": ("states", "seed")}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings in a name after its file."""

    law: str = "ngram"
    order: int = 2
    backoff: float = 0.1
    states: int = 32
    unit: str = "word"
    per: str = "line"
    vocabulary: int = MOST_TOKENS
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("law", OWN), ("unit", ("word", "letter")), ("per", ("line", "file"))):
            check_known(name, getattr(self, name), known)
        if not 2 <= self.vocabulary <= MOST_TOKENS:
            raise InputError(f"an exact law's vocabulary must be from 2 to {MOST_TOKENS}, got {self.vocabulary}")


def read_name(name: str) -> tuple[Path, Settings]:
    """The file and the settings of `exact:FILE,setting=value,...`.

    Raises InputError for an unknown setting, and for one of the other law.
    """
    file, *parts = name.removeprefix(SCHEME).split(",")
    given = read_settings("an exact law", Settings, parts)
    settings = Settings(**given)
    for law, keys in OWN.items():
        for key in keys if law != settings.law else ():
            if key in given:
                raise InputError(
                    f"{key}={given[key]} is a setting of law={law}, and changes nothing in law={settings.law}; drop "
                    f"it, or say law={law}"
                )
    return Path(file), settings


def open_exact(name: str) -> Computed:
    """The denoiser of `exact:FILE,setting=value,...`, or of a task's own law (exact_task.py), `exact:grids`.

    Raises InputError as `read_name` does, for a file without texts, and for one that holds a mark of SPECIAL. A file
    with the name of a task is written as ./grids.
    """
    from nap.models.exact_task import LAWFUL, open_task

    task, *options = name.removeprefix(SCHEME).split(",")
    if task in LAWFUL:
        return open_task(task, options)
    path, settings = read_name(name)
    whole = read_texts(path)
    texts = [line for text in whole for line in lines_of(text)] if settings.per == "line" else whole
    texts = [" ".join(text.split()) for text in texts]
    if mark := next((mark for mark in SPECIAL if any(mark in text for text in texts)), None):
        raise InputError(f"{path} holds {mark!r}, which is a mark of a canvas and no text; write it otherwise")
    tokens = [[*text] if settings.unit == "letter" else text.split() for text in texts]
    counted = Counter(token for line in tokens for token in line)
    words = [UNKNOWN, *(word for word, _ in counted.most_common(settings.vocabulary - 1) if word != UNKNOWN)]
    number = {word: i for i, word in enumerate(words)}
    ids = [[number.get(token, 0) for token in line] for line in tokens if line]
    if settings.law == "hmm":
        law = fit_hmm(ids, len(words), settings.states, settings.seed)
    else:
        law = fit_ngram(ids, len(words), settings.order, settings.backoff)
    digest = hashlib.blake2b("\n".join([str(settings), *whole]).encode(), digest_size=16).hexdigest()
    return ExactDenoiser(law, build_tokenizer(words, settings.unit), name, digest)


def read_texts(path: Path) -> list[str]:
    """The texts of a file: the field `text` of each row, or the whole of a file that holds no rows.

    A null text counts as empty. Raises InputError for a file of more than LARGEST bytes, and for a row without a text.
    """
    if path.is_file() and path.stat().st_size > LARGEST:
        raise _too_long(path)
    if path.name.endswith((".txt", ".txt.gz")) or not holds_rows(path):
        return [read_text(path)]
    found, size = list[str](), 0
    for row in read_rows(path):
        text = "" if row.value.get("text", ...) is None else row.value.get("text")
        if not isinstance(text, str):
            got = ", ".join(map(str, row.value)) or "none"
            raise InputError(f"{row.where}: a law is fitted to the field 'text' of each row; got {got:.200}; rename it")
        check_text(f"{row.where}: it", text)
        found.append(text)
        if (size := size + len(text)) > LARGEST:
            raise _too_long(path)
    return found


def _too_long(path: Path) -> InputError:
    return InputError(f"{path} has more than {LARGEST >> 20} MB, which takes long to fit; give a part of it")


def build_tokenizer(words: list[str], unit: str) -> "PreTrainedTokenizerFast":
    """A token for each word or letter, after the special ones."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    listed = [*SPECIAL, *words]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(listed)}, unk_token=UNKNOWN))
    if unit == "letter":
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
        tokenizer.decoder = decoders.Fuse()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tags = [AddedToken(tag, special=True, normalized=False) for tag in SPECIAL[2:]]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, mask_token=SPECIAL[0], pad_token=SPECIAL[1], unk_token=UNKNOWN,
        additional_special_tokens=tags, clean_up_tokenization_spaces=False,
    )  # fmt: skip


class ExactDenoiser(Computed):
    """A law as a `Denoiser` (denoiser.py). `offset`: the id of the law's token 0."""

    def __init__(self, law: Law, tokenizer: Any, name: str, digest: str) -> None:
        self.law, self.offset = law, len(SPECIAL)
        super().__init__(0, 1, self.offset + law.vocabulary, tokenizer)
        self.setting = {"model": name, "revision": digest, "family": "exact", "law": law.name}
        self.canvas = CanvasSpec.plain(64)
        self._readers: OrderedDict[tuple[bytes, int, int], Reader] = OrderedDict()
        self._starts: dict[bytes, Floats] = {}
        # A reader is changed by what it reads, and decodes of the same prompt in several threads share it.
        self._reading = Lock()

    def logits(self, ids_BL: Tensor, layout: Layout, at: tuple[Tensor, Tensor]) -> Tensor:
        """logits_NV: the law's log-probabilities given all that is written in the slot; -inf at special tokens."""
        with self._reading:
            return self._logits(ids_BL.numpy(), layout, *(column.numpy() for column in at))

    def _logits(self, ids: Ints, layout: Layout, row_N: Ints, position_N: Ints) -> Tensor:
        logits_NV = np.full((len(row_N), self.vocabulary), -np.inf, np.float32)
        seen: Counter[tuple[bytes, int]] = Counter()
        for row in np.unique(row_N):
            asked_N = np.flatnonzero(row_N == row)
            region_n = layout.region_BL[row][position_N[asked_N]]
            prompt = ids[row][layout.region_BL[row] == PROMPT]
            for code in np.unique(region_n):
                slot = np.flatnonzero(layout.region_BL[row] == code)
                key = prompt.tobytes(), int(slot[0])
                seen[key] += 1
                reading = self.reader(prompt, len(slot), (*key, seen[key])).read(self.law_ids(ids[row][slot]))
                here = asked_N[region_n == code]
                marginals_nV = reading.marginals_LV[np.searchsorted(slot, position_N[here])]
                with np.errstate(divide="ignore"):
                    logits_NV[here, self.offset :] = np.log(marginals_nV)
        return torch.from_numpy(logits_NV)

    def law_ids(self, ids_L: Ints) -> Ints:
        """The law's tokens for canvas tokens: MASKED for a mask, unknown for tokens outside the law such as padding."""
        return np.where(ids_L == self.mask_id, MASKED, np.maximum(ids_L - self.offset, 0))

    def reader(self, prompt: Ints, length: int, key: tuple[bytes, int, int] | None = None) -> Reader:
        """A reader of a slot after a prompt; under a key the one that read it before, if it is still kept."""
        if key is not None and (found := self._readers.pop(key, None)) is not None and len(found.before) == length:
            self._readers[key] = found
            return found
        made = Reader(self.law, length, self.start(prompt))
        if key is not None:
            self._readers[key] = made
            room = max(1, KEPT // (made.before.nbytes * 2 + length * self.law.vocabulary * 8))
            while len(self._readers) > room:
                self._readers.popitem(last=False)
        return made

    def start(self, prompt: Ints) -> Floats:
        """The law's states after a prompt."""
        key = prompt.tobytes()
        if (found := self._starts.get(key)) is None:
            if len(self._starts) > 64:
                self._starts.clear()
            found = self._starts[key] = self.law.after(self.law_ids(prompt).tolist())
        return found

    def read(self, prompt: Ints, ids_L: Ints) -> Reading:
        """What the law says about a slot after a prompt, both in canvas tokens."""
        return self.reader(prompt, len(ids_L)).read(self.law_ids(ids_L))
