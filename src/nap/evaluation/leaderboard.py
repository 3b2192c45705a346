"""The leaderboard: every decoder in every contest, its settings chosen on some problems and measured on others.

    boards = run_boards(contests, decoders, folder, problems=200, validation=100)

A contest has a folder with three runs of `run_sweep` in it, of the first problems of the split (`validation`), of the
next (`test`), and of a few of these again, one at a time, for the seconds (`timed`), so all is resumable and grows. The
model remembers what it said of a canvas, as decoders often ask about the same. RULE says how a setting is chosen. For
an exact law of texts (`law=exact:FILE`) the score is not accuracy but the exact log-loss of what was written, in nats a
token, and for texts with gaps (`restore@FILE=MODEL`) the share of masked tokens that is restored.

Does not decode (run.py), and does not write the page (leaderboard_page.py).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from nap.common.bounds import check_least
from nap.common.files import InputError, atomic, make_folder
from nap.common.folder import Setting, run_folder
from nap.common.stats import Interval, bootstrap_mean
from nap.common.text import lines_of
from nap.data.trace_files import read_traces
from nap.decoding.needs import check_needs
from nap.decoding.policies.registry import parse_policy
from nap.evaluation.decoders import LAW, PACES, RESTORE, Contest, Decoder
from nap.evaluation.opened import kept_open
from nap.evaluation.rows import Row, read_seconds
from nap.evaluation.summary import Record, summarise
from nap.evaluation.sweep import Sweep
from nap.models.any import load
from nap.models.denoiser import Denoiser
from nap.models.exact import ExactDenoiser
from nap.models.exact_cost import nats_of
from nap.models.remembering import remembering
from nap.order.rates import aup

VALIDATION, TEST, TIMED = "validation", "test", "timed"
# Of the test problems, how many are decoded once more, each alone, for the seconds.
TIMED_PROBLEMS = 2
# What may be lost and still count as no loss: of the problems, and for a law in nats a token.
POINT, NATS = 0.01, 0.01
PROMPT_WORDS = 3

RULE = (
    "Every decoder has at most four settings: those that follow a budget 1, 2, 4 and 8 tokens a step, the others four "
    "values of the number that sets their speed. All are run on the validation problems, and what is chosen there "
    "is shown as the test problems have it. The setting chosen: the one with the most tokens a forward whose "
    "accuracy is within one point of the best of this decoder's settings. Tokens a query: likewise, with the most "
    "tokens a query. Accuracy at 1, 2, 4, 8 tokens a forward: of the settings that fill at least k / 1.41 positions "
    "a forward, padding included, the most accurate one."
)


class Score(NamedTuple):
    """What a setting is worth on some problems: higher is better; accuracy from 0 to 1, or less the nats a token."""

    value: float
    interval: Interval | None


@dataclass(frozen=True, kw_only=True)
class Point:
    """A setting on one part of a contest's problems. `filled`: positions a forward, padding included."""

    score: Score
    filled: float
    record: Record

    @property
    def tpf(self) -> float:
        """Tokens a forward."""
        return self.record.tpf.value or 0.0

    @property
    def per_query(self) -> float:
        """Tokens a query token, as the ratio of the means."""
        return (self.record.n_tokens.value or 0.0) / (self.record.queries.value or 1.0)


Points = Mapping[str, Point]  # by the name of the cell


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A decoder in a contest, on the test problems.

    at        by tokens a forward; None where no setting is so fast
    chosen    the setting chosen, and `sparing` the one with the most tokens a query
    """

    decoder: str
    at: Mapping[int, Point | None]
    chosen: Point
    sparing: Point
    aup: float | None


@dataclass(frozen=True, kw_only=True)
class Board:
    """A contest's standings, and which decoders the model cannot run, with the reason."""

    contest: Contest
    standings: Sequence[Standing]
    refused: Mapping[str, str]
    points: Mapping[str, Points]  # of both parts
    rows: Sequence[Row]  # of the test problems


class RunOne(Protocol):
    """Runs a sweep; the settings are those of `run_sweep`."""

    def __call__(self, sweep: Sweep, folder: Path, /, **settings: Any) -> list[Row]:
        """The rows."""
        ...


def run_boards(
    contests: Sequence[Contest],
    found: Sequence[Decoder],
    folder: Path,
    run_one: RunOne,
    *,
    problems: int,
    validation: int,
    digests: Mapping[str, str] | None = None,
) -> Iterator[Board]:
    """The board of each contest, as it is done. `run_one` runs a sweep.

    digests  of the files that decoders come from, by decoder: a folder never mixes two versions of one

    Raises InputError as `run_sweep`, and for a folder that another process is at work in.
    """
    check_least({"problems": problems, "validation": validation})
    setting = {"contests": [*map(str, contests)], "decoders": [d.name for d in found], "files": dict(digests or {})}
    with run_folder(folder, "leaderboard", setting, compared=_files):
        for contest in contests:
            yield _board(contest, found, folder / contest.place, run_one, problems, validation)


def _files(old: Setting, now: Setting) -> tuple[dict[str, object], dict[str, object]]:
    """What must be the same: the files of the decoders that both have."""
    files = [known if isinstance(known := one.get("files"), dict) else {} for one in (old, now)]
    both = files[0].keys() & files[1].keys()
    first, second = ({"decoder": {name: known[name] for name in both}} for known in files)
    return dict(first), dict(second)


def _board(
    contest: Contest, found: Sequence[Decoder], folder: Path, run_one: RunOne, problems: int, validation: int
) -> Board:
    denoiser = load(contest.model)
    refused = {decoder.name: reason for decoder in found if (reason := _refusal(decoder, denoiser))}
    able = [decoder for decoder in found if decoder.name not in refused]
    if not able:
        raise InputError(f"{contest.model} can run none of these decoders: {next(iter(refused.values()))}")
    law = denoiser if contest.task == LAW else None
    task, data, gapped = contest.task, contest.data, contest.task == RESTORE
    if law is not None:
        if not isinstance(law, ExactDenoiser):
            raise InputError(f"law= takes the law of a file's texts, law=exact:FILE, got {contest}")
        task, data = "jsonl", str(_prompts(contest, folder, law, problems + validation))
    points, rows, memory = dict[str, Points](), list[Row](), remembering(denoiser)
    sweep = Sweep(
        task=task, models=(contest.model,), policies=tuple(text for one in able for text in one.policies),
        tokens_per_step=PACES, problems=min(problems, TIMED_PROBLEMS), skip=validation, data=data,
    )  # fmt: skip
    with kept_open(denoiser, sweep):
        run_one(sweep, folder / TIMED, traces=0, batch_size=1)
    seconds = read_seconds(folder / TIMED / "seconds.parquet")
    for part, skip, count in ((VALIDATION, 0, validation), (TEST, validation, problems)):
        kept = count if law else int(part == TEST)
        asked = replace(sweep, problems=count, skip=skip)
        with kept_open(memory, sweep):
            rows = run_one(asked, folder / part, traces=kept, by_problem=True)
        scores = _nats(law, rows, folder / part) if law else _restored(asked, denoiser, rows) if gapped else None
        points[part] = _points(summarise(rows, seconds), rows, scores)
    standings = [_standing(one, contest, points, POINT if law is None else NATS) for one in able]
    standings.sort(key=lambda one: (-(one.aup or 0.0), -one.chosen.tpf))
    return Board(contest=contest, standings=standings, refused=refused, points=points, rows=rows)


def _refusal(decoder: Decoder, denoiser: Denoiser) -> str | None:
    try:
        for text in decoder.policies:
            check_needs(parse_policy(text), denoiser, "none", 0.0)
    except InputError as error:
        return str(error)
    return None


def _points(records: Sequence[Record], rows: Sequence[Row], nats: Mapping[str, Score] | None) -> dict[str, Point]:
    sums: dict[str, tuple[int, int]] = {}
    for row in rows:
        filled, forwards = sums.get(row.cell, (0, 0))
        sums[row.cell] = filled + (row.n_tokens or 0) + (row.n_uncounted or 0), forwards + (row.forwards or 0)
    return {
        r.cell: Point(
            score=nats[r.cell] if nats else Score(r.accuracy, r.accuracy_interval),
            filled=sums[r.cell][0] / max(1, sums[r.cell][1]),
            record=r,
        )
        for r in records
    }


def _standing(decoder: Decoder, contest: Contest, points: Mapping[str, Points], margin: float) -> Standing:
    validated, tested = points[VALIDATION], points[TEST]
    cells = decoder.cells(contest.model)
    chosen = choose(cells, validated, margin, lambda point: point.tpf)
    sparing = choose(cells, validated, margin, lambda point: point.per_query)
    best = 100 * max(point.score.value for point in tested.values())
    measured = [(p.tpf, 100 * p.score.value) for cell in cells if (p := tested[cell]).tpf]
    return Standing(
        decoder=decoder.name,
        at={k: None if (cell := at_least(k, cells, validated)) is None else tested[cell] for k in PACES},
        chosen=tested[chosen],
        sparing=tested[sparing],
        aup=aup(measured, best) if measured and best > 1 else None,
    )


def choose(cells: Sequence[str], points: Points, margin: float, by: Callable[[Point], float]) -> str:
    """The cell with the most of `by` whose score is within `margin` of the best of these cells; the first of equals."""
    best = max(points[cell].score.value for cell in cells)
    near = [cell for cell in cells if points[cell].score.value >= best - margin - 1e-9]
    return max(near, key=lambda cell: by(points[cell]))


def at_least(k: int, cells: Sequence[str], points: Points) -> str | None:
    """Of the cells that fill k positions a forward, to the nearest power of two, the one that scores best."""
    fast = [cell for cell in cells if points[cell].filled >= k / 2**0.5]
    return max(fast, key=lambda cell: (points[cell].score.value, points[cell].tpf), default=None)


# Exact laws of texts


def _prompts(contest: Contest, folder: Path, law: ExactDenoiser, count: int) -> Path:
    """Write the beginnings of lines, spread over the law's file, as problems; what follows is not asked about."""
    from nap.models.exact import read_name, read_texts

    file, _ = read_name(contest.model)
    found = (line.split() for text in read_texts(file) for line in lines_of(text))
    lines = [line for line in found if len(line) > PROMPT_WORDS]
    # A law's vocabulary may leave out rare words or letters, and it refuses a prompt with one.
    unknown, encode = law.tokenizer.unk_token_id, law.tokenizer.encode
    lines = [line for line in lines if unknown not in encode(" ".join(line[:PROMPT_WORDS]), add_special_tokens=False)]
    if len(lines) < count:
        raise InputError(
            f"{file} has {len(lines)} lines of more than {PROMPT_WORDS} words that the law knows the first of, "
            f"and {count} are asked for"
        )
    chosen = islice(lines, 0, len(lines) // count * count, len(lines) // count)
    make_folder(folder)
    with atomic(folder / "prompts.jsonl") as out:
        for number, line in enumerate(chosen):
            row = {"id": f"line-{number}", "prompt": " ".join(line[:PROMPT_WORDS]), "answer": line[PROMPT_WORDS]}
            out.write(json.dumps(row) + "\n")
    return folder / "prompts.jsonl"


def _nats(law: ExactDenoiser, rows: Sequence[Row], folder: Path) -> dict[str, Score]:
    """Of each cell less the mean nats a token of what was written, with the interval over its texts."""
    found: dict[str, list[float]] = {}
    # All traces are kept, in the sequence of the rows.
    for row, trace in zip(rows, read_traces(folder / "traces.jsonl"), strict=True):
        tokens, nats = nats_of(law, trace)
        found.setdefault(row.cell, []).append(-nats / max(1, tokens))
    return _means(found)


def _means(found: Mapping[str, Sequence[float]]) -> dict[str, Score]:
    return {
        cell: Score(sum(values) / len(values), bootstrap_mean(values) if len(values) > 1 else None)
        for cell, values in found.items()
    }


# Texts with gaps


def _restored(sweep: Sweep, denoiser: Denoiser, rows: Sequence[Row]) -> dict[str, Score]:
    """Of each cell the mean share of masked tokens that is restored, with the interval over its texts.

    Raises InputError for an answer whose tokens are not those around the gaps of its text.
    """
    asked, found = sweep.load_problems(), dict[str, list[float]]()
    wanted: dict[str, dict[int, int]] = {}
    for problem, canvas in zip(asked, sweep.lay_out(denoiser, asked), strict=True):
        truth = denoiser.tokenizer.encode(problem.answer, add_special_tokens=False)
        given = canvas.ids.tolist()
        masked = {place for start, stop in canvas.gaps for place in range(start, stop)}
        if len(truth) != len(given) or any(truth[i] != given[i] for i in range(len(given)) if i not in masked):
            raise InputError(f"{problem.id}: its answer is not its text with {len(masked)} tokens in the gaps")
        wanted[problem.id] = {place: truth[place] for place in masked}
    for row in rows:
        gaps = wanted[row.problem_id]
        right = sum((row.tokens or ())[place] == token for place, token in gaps.items())
        found.setdefault(row.cell, []).append(right / len(gaps))
    return _means(found)
