"""Tests whether answers come from the paths: the summary is written over paths that were put there.

    rows = probe_paths(sweep, folder)
    for finding in findings_of(rows): ...

The paths stay masked (`nothing`), are the model's own (`own`), are right (`right`, where the task writes solutions), or
belong to another problem with another answer (`other`). A model that reasons is worse over nothing than over its own
paths. A model that reads its paths is right over right ones, and gives the other problem's answer over `other`. In a
fifth test one value in the middle of a path is made wrong (`wrong value`) and the rest is left to the model: if it
reasons, what follows changes.

The sweep's first policy writes the paths of `own` at its first pace. Everything after given paths is written by
confidence, one token a step. Letters: L canvas. Does not sweep (run.py).
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nap import __version__
from nap.canvas.canvas import Canvas, fill, parse
from nap.common.files import InputError
from nap.common.folder import digest, run_folder
from nap.common.journal import Journal
from nap.common.records import from_row, to_row
from nap.common.stats import wilson_interval
from nap.data.problems import Problem
from nap.data.samples import Sample, join_paths
from nap.data.trace import HEADER, Trace
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.policies.ordered import LowConfidence
from nap.decoding.policies.registry import parse_policy
from nap.decoding.prompt import asked_canvas, canvas_of
from nap.evaluation.opened import digests_of, opened
from nap.evaluation.sweep import LATER, Sweep
from nap.models.answerable import check_answerable
from nap.models.denoiser import Denoiser
from nap.models.identity import unless_unsaid
from nap.tasks.public import tell_left_out
from nap.tasks.registry import Gathers, Reasons, load_task

NOTHING, OWN, RIGHT, OTHER, WRONG = GIVEN = ("nothing", "own", "right", "other", "wrong value")
BATCH = 16
Ints = NDArray[np.int64]
# A value with something after it.
VALUE = re.compile(r"= ?(\d{1,9})(?=\D+\S)")


@dataclass(frozen=True, kw_only=True)
class Probed:
    """The answer of a model over one kind of paths.

    correct   the answer is right; None where nothing was asked, as no path could be cut after a value
    follows   for `other`: the answer is the other problem's
    changed   for `wrong value`: the text after it differs from the text after the right value
    moved     for `wrong value`: the answer differs from that over the right value
    made_of   a digest of the model and all problems; None in rows of earlier versions
    """

    model: str
    given: str
    problem_id: str
    correct: bool | None
    answer: str | None = None
    follows: bool | None = None
    changed: bool | None = None
    moved: bool | None = None
    made_of: str | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is about."""
        return self.model, self.given, self.problem_id


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A count for a model over one kind of paths: how many of how many."""

    model: str
    given: str
    yes: int
    of: int

    def __str__(self) -> str:
        low, high = wilson_interval(self.yes, self.of)
        return f"{100 * self.yes / self.of:.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def probe_paths(
    sweep: Sweep,
    folder: str | Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Probed]:
    """Probe the sweep's models on its problems. Resumable, with a journal in the folder.

    say  is told which rows of the task's file are left out, and which of the folder are made again

    Raises InputError for a task whose answer is in the paths, a canvas without a summary, several caches, and as
    `run_sweep`.
    """
    if isinstance(task := load_task(sweep.task), Gathers):
        raise InputError(f"the answer of task {sweep.task!r} is in the paths themselves; --probe paths needs a summary")
    cache, *others = sweep.cache
    if others:
        raise InputError(f"--probe paths takes one cache, got {', '.join(sweep.cache)}")
    problems, folder = sweep.load_problems(), Path(folder)
    tell_left_out(problems.left_out, say)
    if len({problem.answer for problem in problems}) < 2:
        raise InputError("all problems have one answer, so that no other's paths can be told from their own")
    digests = {model: digests_of(model, opened(model, sweep, current=True)) for model in sweep.models}
    setting = asdict(sweep) | {"cache": cache, "nap": __version__, "made_of": {"models": digests}}
    kinds = [given for given in GIVEN if given != RIGHT or hasattr(task, "sample")]
    read = partial(from_row, Probed)
    with (
        run_folder(folder, "probe", setting, compared=unless_unsaid(folder, say), later=LATER),
        Journal(folder / "journal.jsonl", lambda row: row.key, read=read, write=to_row) as journal,
    ):
        for model in sweep.models:
            probe = _Probe.of(sweep, model, problems)
            made_of = probe.made_of(digests[model])
            own = [row for row in journal.done.values() if row.model == model]
            # Rows of earlier versions do not say what they are of.
            done = {row.key for row in own if row.made_of in (None, made_of)}
            if stale := len(own) - len(done):
                say(f"{stale} rows of {model} are of other problems behind the same names, and are made again")
            for given in kinds:
                todo = [i for i, problem in enumerate(problems) if (model, given, problem.id) not in done]
                for start in range(0, len(todo), BATCH):
                    rows = probe.rows(given, todo[start : start + BATCH])
                    journal.add([replace(row, made_of=made_of) for row in rows])
                    progress(len(journal.done), len(sweep.models) * len(kinds) * len(problems))
        asked = {(model, given, problem.id) for model in sweep.models for given in kinds for problem in problems}
        return [row for key, row in journal.done.items() if key in asked]


def findings_of(rows: Sequence[Probed]) -> list[Finding]:
    """For each model, the counts over each kind of paths. Kinds without rows are left out."""
    columns: dict[str, tuple[str, str]] = {
        **{f"over {given}": (given, "correct") for given in GIVEN},
        "gives the other's answer": (OTHER, "follows"),
        "a wrong value: what follows changes": (WRONG, "changed"),
        "a wrong value: the answer changes": (WRONG, "moved"),
    }
    found = []
    for model in dict.fromkeys(row.model for row in rows):
        for says, (given, column) in columns.items():
            values = [getattr(row, column) for row in rows if (row.model, row.given) == (model, given)]
            known = [value for value in values if value is not None]
            if known:
                found.append(Finding(model=model, given=says, yes=sum(known), of=len(known)))
    return found


@dataclass(frozen=True, kw_only=True)
class _Probe:
    """One model over the problems of a task."""

    sweep: Sweep
    model: str
    task: Any
    denoiser: Denoiser
    problems: Sequence[Problem]
    canvases: Sequence[Canvas]
    own: dict[int, list[Ints]]

    @classmethod
    def of(cls, sweep: Sweep, model: str, problems: Sequence[Problem]) -> "_Probe":
        if sweep.infill is not None:
            raise InputError("a probe writes over paths, and a text with gaps has none; drop --infill")
        denoiser = opened(model, sweep)
        spec = asked_canvas(denoiser, sweep.canvas, sweep.attention)
        if not spec.summary_tokens:
            raise InputError(
                f"{model}: a canvas without a summary has nothing to write over its paths; --canvas nap has"
            )
        task = load_task(sweep.task)
        check_answerable(denoiser, spec, task, problems)
        canvases = [canvas_of(denoiser, problem, spec, sweep.prompting) for problem in problems]
        return cls(sweep=sweep, model=model, task=task, denoiser=denoiser, problems=problems, canvases=canvases, own={})

    def made_of(self, digests: Mapping[str, object]) -> str:
        """A digest of all that a row depends on: the paths given may be another problem's."""
        said = [digests, self.denoiser.setting, [asdict(problem) for problem in self.problems]]
        return digest(json.dumps(said, sort_keys=True).encode() + b"".join(one.ids.tobytes() for one in self.canvases))

    def rows(self, given: str, chosen: Sequence[int]) -> list[Probed]:
        """The rows of some problems over one kind of paths."""
        others = {i: self._other(i) for i in chosen} if given == OTHER else {}
        if given == OWN or not hasattr(self.task, "sample"):
            self._write_own([others.get(i, i) for i in chosen])
        if given == WRONG:
            return list(self._wrong(chosen))
        canvases = [self._given(given, i, others.get(i, i)) for i in chosen]
        rows = []
        for i, trace in zip(chosen, self._written(canvases), strict=True):
            text = self._summary(trace)
            row = self._row(given, i, text)
            follows = self.task.check(self.problems[others[i]], text) if given == OTHER else None
            rows.append(replace(row, follows=follows))
        return rows

    def _row(self, given: str, i: int, text: str) -> Probed:
        problem = self.problems[i]
        correct, answer = self.task.check(problem, text), self.task.extract(problem, text)
        return Probed(model=self.model, given=given, problem_id=problem.id, correct=correct, answer=answer)

    def _given(self, given: str, i: int, source: int) -> Canvas:
        """The canvas of problem `i` with the paths of problem `source`; only its summary is left to write."""
        canvas = self.canvases[i]
        if given == NOTHING:
            in_path = (canvas.region >= 0) & (canvas.region < canvas.spec.paths)
            return replace(canvas, region=np.where(in_path, HEADER, canvas.region))
        return _with(canvas, self._paths(given, source))

    def _paths(self, given: str, i: int) -> list[Ints]:
        """The ids of each path slot."""
        if given == OWN or not hasattr(self.task, "sample"):
            return self.own[i]
        sample, canvas = self._sample(i), self.canvases[i]
        texts = [path.text for path in sample.paths]
        if isinstance(self.task, Reasons):
            texts = self.task.in_slots(texts, canvas.spec.paths, canvas.spec.path_tokens - 1)
        elif canvas.spec.paths == 1:
            texts = [join_paths(texts)]
        texts = [*texts, sample.summary]
        return _slots(canvas, fill(canvas, texts, self.denoiser.tokenizer, self.denoiser.pad_id))

    def _write_own(self, chosen: Sequence[int]) -> None:
        """The model's own paths, by the sweep's first policy at its first pace."""
        missing, cell = [i for i in dict.fromkeys(chosen) if i not in self.own], self.sweep.cells()[0]
        traces = decode_traces(
            self.denoiser, [self.canvases[i] for i in missing], parse_policy(cell.policy), budget=cell.budget,
            sampling=self.sweep.sampling, eos=self.sweep.eos, seed=self.sweep.seed, cache=self.sweep.cache[0],
        )  # fmt: skip
        for i, trace in zip(missing, traces, strict=True):
            self.own[i] = _slots(self.canvases[i], np.array(trace.final))

    def _sample(self, i: int) -> Sample:
        """The right solutions of a problem, one for each path of the canvas; three where it has one path."""
        paths = self.canvases[i].spec.paths
        sample = self.task.sample(0, i, paths if paths > 1 else 3, split=self.sweep.split)
        if sample.problem.id != self.problems[i].id:
            raise InputError(f"task {self.sweep.task!r} writes solutions for its own problems only; drop --data")
        return sample

    def _other(self, i: int) -> int:
        """The next problem that has another answer."""
        after = ((i + n) % len(self.problems) for n in range(1, len(self.problems)))
        return next(j for j in after if self.problems[j].answer != self.problems[i].answer)

    def _wrong(self, chosen: Sequence[int]) -> Iterator[Probed]:
        """Rows over a path that is cut after a value, right or wrong; the model writes its rest and the summary."""
        cut = {i: pair for i in chosen if (pair := self._cut(i))}
        traces = self._written([canvas for pair in cut.values() for canvas in pair])
        for n, i in enumerate(cut):
            right, wrong = traces[2 * n], traces[2 * n + 1]
            texts = [self._summary(trace) for trace in (right, wrong)]
            answers = [self.task.extract(self.problems[i], text) for text in texts]
            changed = self._follows(cut[i][0], right) != self._follows(cut[i][1], wrong)
            yield replace(self._row(WRONG, i, texts[1]), changed=changed, moved=answers[0] != answers[1])
        for i in (i for i in chosen if i not in cut):
            yield Probed(model=self.model, given=WRONG, problem_id=self.problems[i].id, correct=None)

    def _cut(self, i: int) -> tuple[Canvas, Canvas] | None:
        """The canvas with its first path up to a value, right and wrong; None where nothing follows a value."""
        paths = self._paths(RIGHT, i)
        tokenizer = self.denoiser.tokenizer
        ids = [token for token in paths[0].tolist() if token != self.denoiser.pad_id]
        text = tokenizer.decode(ids)
        value_said = self.task.value if isinstance(self.task, Reasons) else VALUE
        if not (found := value_said.search(text)):
            return None
        value = int(found[1])
        before = text[: found.start(1)]
        right = tokenizer.encode(before + str(value), add_special_tokens=False)
        others = (tokenizer.encode(before + str(n), add_special_tokens=False) for n in _others_than(value))
        wrong = next((ids for ids in others if len(ids) == len(right)), None)
        if wrong is None or len(right) >= len(paths[0]):
            return None
        canvas = self.canvases[i]
        rest = np.full(len(paths[0]) - len(right), self.denoiser.mask_id)
        first = [np.concatenate([np.array(prefix, np.int64), rest]) for prefix in (right, wrong)]
        closed = (canvas.region > 0) & (canvas.region < canvas.spec.paths)
        canvas = replace(canvas, region=np.where(closed, HEADER, canvas.region))
        return _with(canvas, [first[0]]), _with(canvas, [first[1]])

    def _follows(self, canvas: Canvas, trace: Trace) -> list[int]:
        """What the model wrote into the first path."""
        open_L = (canvas.region == 0) & (canvas.ids == self.denoiser.mask_id)
        return np.array(trace.final)[open_L].tolist()

    def _written(self, canvases: Sequence[Canvas]) -> list[Trace]:
        return decode_traces(self.denoiser, canvases, LowConfidence(), budget=Budget(tokens=1)) if canvases else []

    def _summary(self, trace: Trace) -> str:
        canvas = next(canvas for canvas in self.canvases if canvas.problem_id == trace.problem_id)
        return parse(canvas, trace.final, self.denoiser.tokenizer, trace.uncounted).summary


def _others_than(value: int) -> tuple[int, int]:
    """Values beside this one, one of which has as many digits."""
    return (value - 1, value + 1) if value >= 9 else (value + 1, value - 1)


def _slots(canvas: Canvas, ids_L: Ints) -> list[Ints]:
    return [ids_L[canvas.region == code] for code in range(canvas.spec.paths)]


def _with(canvas: Canvas, paths: Sequence[Ints]) -> Canvas:
    """The canvas with these ids in its first path slots."""
    ids = canvas.ids.copy()
    for code, path in enumerate(paths):
        ids[canvas.region == code] = path
    return replace(canvas, ids=ids)
