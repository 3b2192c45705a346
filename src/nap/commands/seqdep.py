"""`nap seqdep`: how sequential a corpus is to a language model. `nap seqdep filter`: select or weight its rows.

Does not measure (dependence/); reads the flags, prints tables and writes rows.
"""

import json
import math
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from nap.commands import progress
from nap.commands.flags import Whole, Words, check_rows_file
from nap.commands.tables import draw, estimated, open_console
from nap.common.bounds import check_least
from nap.common.files import STANDARD_INPUT, InputError, check_apart, read_text
from nap.common.records import changed
from nap.common.text import printable

if TYPE_CHECKING:
    from nap.dependence.rows import RowFile
    from nap.dependence.scorer import Scorer
    from nap.dependence.seqdep import Corpus, Dependence
    from nap.dependence.summary import Summary

Number = Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint="")]
File = Annotated[Positional[str], arg(metavar="FILE")]
# The question that each measure answers, as in docs/seqdep.md.
QUESTIONS = {
    "seqdep": "what the text before a segment tells, and that there is any (2602.23225 Eq. 4)",
    "control": "what this text tells that another prompt's does not",
    "excess": "what this sample tells that another of its prompt does not: 0 for independent paths",
}


@dataclass(frozen=True, kw_only=True)
class Opening:
    """Which model reads the texts, and in which fields they are."""

    scorer: str
    """folder or hub name of a causal language model, or the http address of an OpenAI-compatible server"""
    text_field: Words = None
    """field with the text or its paths (default: text, the last reply of messages or conversations, segments, paths)"""
    prompt_field: Words = None
    """field with the prompt (default: the turns before the reply; the question and what belongs to it)"""
    tokenizer: Words = None
    """for a server: folder or hub name with its model's tokenizer"""
    model: Words = None
    """for a server: the name of its model (default: the first)"""
    device: str = "cpu"
    """cpu, cuda, cuda:1 or mps"""
    dtype: str = "float32"
    """float32, or with more rounding auto, bfloat16 or float16"""

    def open(self) -> "Scorer":
        """The scorer."""
        from nap.dependence.load import open_scorer

        return open_scorer(
            self.scorer, tokenizer=self.tokenizer, model=self.model, device=self.device, dtype=self.dtype
        )


@dataclass(frozen=True, kw_only=True)
class Scoring(Opening):
    """Which model reads the texts, and how they are cut."""

    segments: Words = None
    """lines, sentences, tokens:K, or paths (the default for rows that are lists of texts; else lines)"""
    max_tokens: Whole = None
    """cut a longer text after the last segment that ends within this many tokens (default: the scorer's context)"""

    def read(self, file: str) -> "RowFile":
        """The rows of the file, read before a model is opened. Raises InputError as `read_rows` does."""
        from nap.dependence.rows import Fields, read_rows

        check_least({"--max-tokens": self.max_tokens}, 2)
        return read_rows(file, self.segments, Fields(self.text_field, self.prompt_field))


@dataclass(frozen=True, kw_only=True)
class Seqdep:
    """Measure how sequential a file's texts are to a language model.

    A row has a text, a conversation or curated paths, and perhaps a prompt.

    Several rows with one prompt are its samples and give the excess dependence.
    """

    file: File
    """a .jsonl or .parquet file"""
    scoring: OmitArgPrefixes[Scoring]
    limit: Whole = None
    """read only this many rows"""
    json: bool = False
    """print one JSON object a row, and one for all rows at the end"""

    def run(self) -> None:
        """Measure the file and print what was found."""
        from nap.dependence.seqdep import cut_rows, measure_corpus, repeated
        from nap.dependence.summary import summarise

        check_least({"--limit": self.limit})
        read = self.scoring.read(self.file)
        rows = read.rows[: self.limit]
        with progress.bar("measured", f"loading {printable(self.scoring.scorer)}") as bar:
            scorer = self.scoring.open()
            corpus = cut_rows(scorer, rows, read.segmenter, self.scoring.max_tokens)
            measured = measure_corpus(scorer, corpus.texts, lambda done: bar.show(done, len(corpus.texts)), draws=False)
        found, counts = summarise(corpus.texts, measured), {"left_out": len(rows) - len(corpus.rows)}
        counts |= {"shortened": corpus.shortened, "repeated": repeated(corpus.texts)}
        counts |= {"without_prompt": sum(not text.asked for text in corpus.texts)}
        if self.json:
            _print_texts(corpus, measured)
            of = {"scorer": self.scoring.scorer, "segmenter": read.segmenter}
            print(json.dumps({"id": "all", **counts, **asdict(found), **of}))
        else:
            _print_tables(found, counts)
        # A data set of `nap curate` is for training; of other files the least sequential rows can be kept.
        if self.file != STANDARD_INPUT:
            say_next(_training(self.file, self.file) or _filtering(self.file, self.scoring))


def say_next(command: str) -> None:
    """Prints the command that comes next on standard error."""
    print(f"next:\n  {command}", file=sys.stderr)


def _training(source: str, data: str) -> str | None:
    """The command that trains on a curated data set or a part of it; None for other rows."""
    from nap.curation.card import read_card, train_command

    card = Path(source).parent / "card.json"
    try:
        return train_command(read_card(read_text(card)).setting, data=data) if card.is_file() else None
    except (InputError, TypeError, ValueError, LookupError, AttributeError):
        return None  # A card.json of another program.


def _filtering(file: str, scoring: Scoring) -> str:
    """The command that keeps the least sequential half of the same texts, by the same measure."""
    path = Path(file)
    said = [part for name, value in changed(scoring).items() for part in ("--" + name.replace("_", "-"), str(value))]
    kept = path.with_name(f"{path.name.removesuffix('.gz').rpartition('.')[0] or path.name}-kept.jsonl")
    return shlex.join(["nap", "seqdep", "filter", file, *said, "--keep", "0.5", "--out", str(kept)])


def _print_texts(corpus: "Corpus", measured: "list[Dependence]") -> None:
    for text, own in zip(corpus.texts, measured, strict=True):
        row = {"id": text.where, "segments": len(text.segments), "tokens": len(text.ids)}
        gains = {n: {"per_segment": own.per_segment(n), "per_token": own.per_token(n)} for n in own.baseline}
        print(json.dumps(row | {n: gain for n, gain in gains.items() if not math.isnan(gain["per_token"])}))


# What is said of texts that have no excess.
WITHOUT = {"repeated": "equal to an earlier text of their prompt", "without_prompt": "without a prompt of their own"}


def _print_tables(found: "Summary", counts: dict[str, int]) -> None:
    console, measures = open_console(), found.measures
    console.print(
        f"{found.samples} texts of {found.prompts} prompts, {found.segments_a_sample:.1f} segments a text, "
        f"{found.tokens_a_segment:.1f} tokens a segment; left out for having no history: "
        f"{counts['left_out']}, cut short: {counts['shortened']}"
    )
    if said := [f"{counts[name]} {why}" for name, why in WITHOUT.items() if counts[name]]:
        console.print(f"without an excess, being no other sample of a prompt: {', '.join(said)}")
    header = ["", "nats a segment", "nats a token", "rise, nats a token", "prompts"]
    lines = [
        [name, *map(estimated, (own.per_segment, own.per_token, own.rise_per_token)), str(own.per_segment.prompts)]
        for name, own in measures.items()
    ]
    draw(console, header, lines)
    curves = {name: {point.segments: point.per_token for point in own.curve} for name, own in measures.items()}
    names = {(first, last): str(first) if first == last else f"{first}-{last}" for first, last in curves["seqdep"]}
    spans = [[shown, *(estimated(curve.get(span)) for curve in curves.values())] for span, shown in names.items()]
    draw(console, ["segment", *(f"{name}, nats a token" for name in curves)], spans)
    for name in measures:
        console.print(f"{name}: {QUESTIONS[name]}", style="dim")


@dataclass(frozen=True, kw_only=True)
class SeqdepFilter:
    """Keep the least sequential rows of a file, or weight its rows.

    Written rows have a field `seqdep`, in nats a token.

    A row with fewer than two segments after its prompt is kept with null.
    """

    file: File
    """a .jsonl or .parquet file"""
    out: str
    """the .jsonl or .parquet file to write"""
    scoring: OmitArgPrefixes[Scoring]
    max_seqdep: Number = None
    """keep the rows that have at most this many nats a token"""
    keep: Number = None
    """keep this share of the rows, the least sequential ones, between 0 and 1"""
    weight: bool = False
    """drop no row, but give each a `weight`: 1 up to the limit, limit / seqdep above it"""

    def run(self) -> None:
        """Measure the file, write what is kept, and say how much that is."""
        from nap.dependence.rows import check_fits, write_marked

        self._check()
        read = self.scoring.read(self.file)
        check_fits(self.out, read)
        values = _values(self.scoring.open(), read, self.scoring.max_tokens)
        limit = _share_limit(values, self.keep) if self.max_seqdep is None else self.max_seqdep
        marks = [_mark(value, limit, self.weight) for value in values]
        kept, above = len(marks) - marks.count(None), sum(v is not None and v > limit for v in values)
        write_marked(self.out, self.file, read.objects, marks)
        print(
            f"{kept} of {len(marks)} rows are in {self.out}; {above} have more than {limit:.4g} nats a token, "
            f"{values.count(None)} no history"
        )
        if command := _training(self.file, self.out):
            say_next(command)

    def _check(self) -> None:
        check_rows_file(self.out, "rows")
        check_apart(self.out, self.file)
        if (self.max_seqdep is None) == (self.keep is None):
            raise InputError("give one of --max-seqdep (nats a token) and --keep (a share of the rows)")
        if self.keep is not None and not 0 < self.keep <= 1:
            raise InputError(f"--keep is a share above 0 and at most 1, got {self.keep}")
        if self.max_seqdep is not None and not math.isfinite(self.max_seqdep):
            raise InputError(f"--max-seqdep is a finite number of nats a token, got {self.max_seqdep}")
        if self.weight and (self.max_seqdep is None or self.max_seqdep <= 0):
            raise InputError(f"--weight needs a --max-seqdep above 0, got {self.max_seqdep}")


def _values(scorer: "Scorer", read: "RowFile", most: int | None) -> list[float | None]:
    """SeqDep of every row, nats a token; None for a row without a history."""
    from nap.dependence.seqdep import cut_rows, measure_corpus

    corpus = cut_rows(scorer, read.rows, read.segmenter, most)
    with progress.bar("measured") as bar:
        measured = measure_corpus(
            scorer, corpus.texts, lambda done: bar.show(done, len(corpus.texts)), control=False, excess=False
        )
    values: list[float | None] = [None] * len(read.rows)
    for number, own in zip(corpus.rows, measured, strict=True):
        values[number] = own.per_token()
    return values


def _share_limit(values: list[float | None], share: float | None) -> float:
    """The value that `share` of the measured rows do not exceed."""
    known = sorted(value for value in values if value is not None)
    return known[max(math.ceil((share or 0) * len(known)), 1) - 1]


def _mark(value: float | None, limit: float, weight: bool) -> dict[str, float | None] | None:
    """The fields that are added to a row: its value and, if asked for, its weight; None for a dropped row."""
    if value is None or value <= limit:
        return {"seqdep": value} | ({"weight": 1.0} if weight else {})
    return {"seqdep": value, "weight": limit / value} if weight else None
