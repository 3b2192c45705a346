"""Run a sweep: one row a problem, resumable, the same every time.

A run's folder holds `journal.jsonl` with finished work in the order in which it was done. When all is done it also
holds `rows.parquet` (the same bytes whatever the batch size, the number of workers or the kills on the way),
`seconds.parquet`, `traces.jsonl` and the summary (summary.py). `setting.json` says what the run is made of, the
model's files included. A folder never mixes two settings, but a run can grow by problems, policies, paces and caches
(reuse.py). Counting rules: docs/counting.md.

Does not say what a sweep is (sweep.py), does not summarise, and does not know how a policy decides.
"""

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from multiprocessing import parent_process
from pathlib import Path as FilePath

from nap import __version__
from nap.canvas.canvas import Canvas, parse
from nap.common.bounds import check_least
from nap.common.folder import run_folder
from nap.common.journal import Journal
from nap.common.memory import keep_memory
from nap.common.records import checked
from nap.common.workers import Backend, map_rows
from nap.data.problems import Problem
from nap.data.trace import Trace
from nap.data.trace_files import write_traces
from nap.decoding.agreement import check_reader
from nap.decoding.batches import USUAL, Fit, fitting_batch
from nap.decoding.decode import Watch, decode_traces
from nap.decoding.needs import check_needs
from nap.decoding.policies.policy import Policy
from nap.decoding.policies.registry import parse_policy
from nap.evaluation.opened import close, devices, digests_of, opened
from nap.evaluation.reuse import Identity, Key, compared, identify, reusable, tell
from nap.evaluation.rows import Entry, Row, critical_path, order_columns, write_rows, write_seconds
from nap.evaluation.sweep import LATER, Cell, Sweep
from nap.evaluation.ties import tie_columns
from nap.models.denoiser import Denoiser
from nap.tasks.arithmetic import equations
from nap.tasks.public import tell_left_out
from nap.tasks.registry import Votes, answer_text, load_task, path_reader

# What a finished run writes beside its journal.
RESULTS = ("rows.parquet", "seconds.parquet", "traces.jsonl", "summary.json", "summary.csv", "summary.md")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Progress of a run: problems decoded in all, since this start, and just now; `seconds` since this start."""

    done: int
    total: int
    fresh: int
    batch: int
    seconds: float
    cell: str

    @property
    def eta(self) -> float:
        """Expected seconds to the end."""
        return self.seconds / self.fresh * (self.total - self.done) if self.fresh else float("nan")


def run_sweep(
    sweep: Sweep,
    folder: str | FilePath,
    *,
    batch_size: int | None = None,
    workers: int = 1,
    backend: Backend = "processes",
    traces: int = 20,
    by_problem: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda line: None,
    watch: Watch | None = None,
) -> list[Row]:
    """Run what is not done yet and write the run's files. Returns the rows, by cell and problem.

    batch_size  problems decoded together; by default as many as fit in memory (decoding/batches.py)
    workers     processes, each with a model of its own; under the device `cuda` each on a device of its own
    backend     `ray` deals the batches over a Ray cluster instead, a GPU to each where the device is `cuda`
    traces      keep the traces of this many problems of each cell
    by_problem  run every setting on some problems before the next problems, for a model that remembers (remembering.py)
    report      is told of every batch that is done
    say         is told the size of the batches, which rows of the folder are reused and which are not, and which rows
                of the task's file are left out
    watch       is told of every forward: the problems done (with fractions) and the number of forwards; only with one
                worker

    Raises InputError if the folder holds a run with another setting, or another process is at work in it.
    """
    check_least({"batch size": batch_size, "workers": workers})
    check_least({"traces": traces}, 0)
    folder, problems = FilePath(folder), sweep.load_problems()
    tell_left_out(problems.left_out, say)
    # Whatever cannot be loaded or does not fit should stop the run before it starts and before it writes anything.
    policies = {text: parse_policy(text) for text in sweep.policies}
    reads_paths = isinstance(load_task(sweep.task), Votes)
    for policy in policies.values():
        check_reader(policy, reads_paths)
    identities, fits = dict[str, Identity](), dict[str, Fit]()
    for model in sweep.models:
        identities[model], fits[model] = _prepared(model, sweep, problems, policies.values(), batch_size, workers)
    setting = asdict(sweep) | {"traces": traces, "nap": __version__, "made_of": _made_of(identities, policies)}
    apart = workers > 1 or backend == "ray"
    if apart:
        close()
    gpus = float(sweep.device.startswith("cuda"))
    with run_folder(folder, "eval", setting, compared=compared, later=LATER), _journal(folder) as journal:
        found = reusable(journal.done, sweep.cells(), problems, identities, traces)
        batch = {model: batch_size or fit.rows for model, fit in fits.items()}
        jobs = _jobs(sweep, problems, found.done, batch, by_problem)
        tell(found, sum(len(todo) for _, todo in jobs), say)
        journal.add(found.renamed)
        for model in dict.fromkeys(cell.model for cell, _ in jobs):
            _say_batch(model, fits[model], batch_size, say)
        if jobs:
            # They belong to a smaller run, and would not match the new setting.
            for name in RESULTS:
                (folder / name).unlink(missing_ok=True)
        entries, total = dict(found.done), len(problems) * len(sweep.cells())
        before = _Before(done=len(entries))
        started, fresh = time.perf_counter(), 0
        told = (lambda part, forwards: watch(before.done + part, before.forwards + forwards)) if watch else None
        work = _Evaluates(sweep, problems, traces, None if apart else told)
        for cell, results in map_rows(work, jobs, backend=backend, workers=workers, chunk=1, gpus=gpus):
            digests = identities[cell.model].digests
            results = [dataclasses.replace(e, made_of=digests[cell.cache, e.row.problem_id]) for e in results]
            journal.add(results)
            entries |= {entry.key: entry for entry in results}
            fresh += len(results)
            before.done, before.forwards = len(entries), before.forwards + sum(e.row.forwards or 0 for e in results)
            counts = {"done": len(entries), "total": total, "fresh": fresh, "batch": len(results)}
            report(Progress(**counts, seconds=time.perf_counter() - started, cell=cell.name))
        return _finish(folder, sweep, problems, entries, traces)


def _prepared(
    model: str,
    sweep: Sweep,
    problems: Sequence[Problem],
    policies: Iterable[Policy],
    batch_size: int | None,
    workers: int,
) -> tuple[Identity, Fit]:
    """A model's identity and the batches that fit in memory. Raises InputError where the model cannot run."""
    denoiser = opened(model, sweep, current=True)
    laid, canvases = sweep.laid(denoiser), _asked(denoiser, sweep, problems, policies)
    said = denoiser.setting | digests_of(model, denoiser) | {"canvas": laid}
    sharing = -(-workers // devices(sweep.device))
    fit = fitting_batch(denoiser, max(map(len, canvases)), most=batch_size or USUAL, processes=sharing)
    return identify(said, sweep, problems, canvases), fit


def _asked(denoiser: Denoiser, sweep: Sweep, problems: Sequence[Problem], policies: Iterable[Policy]) -> list[Canvas]:
    """The canvases of the problems. Raises InputError where they, or the policies, do not fit the model."""
    canvases = sweep.lay_out(denoiser, problems)
    for policy, cache in product(policies, sweep.cache):
        check_needs(policy, denoiser, cache, sweep.guidance)
    return canvases


def check_asked(sweep: Sweep) -> None:
    """Raise InputError where a model of the sweep cannot be asked its problems, without decoding any."""
    problems, policies = sweep.load_problems(), [*map(parse_policy, sweep.policies)]
    for model in sweep.models:
        _asked(opened(model, sweep, current=True), sweep, problems, policies)


def _made_of(identities: Mapping[str, Identity], policies: Mapping[str, Policy]) -> dict[str, object]:
    """The part of the folder's setting about models, and about the second models of policies."""
    made_of: dict[str, object] = {"models": {model: identity.said for model, identity in identities.items()}}
    guides = {text: guide for text, policy in policies.items() if (guide := getattr(policy, "guide", None))}
    if guides:
        made_of["guides"] = {text: getattr(guide, "digest", guide.name) for text, guide in guides.items()}
    return made_of


@dataclass(kw_only=True)
class _Before:
    """What was done before the current batch: problems, and forwards since this start."""

    done: int
    forwards: int = 0


def _jobs(
    sweep: Sweep, problems: Sequence[Problem], done: Mapping[Key, Entry], batch: Mapping[str, int], by_problem: bool
) -> "list[Job]":
    """The batches to do; `batch` says how many problems each model decodes together."""
    # Rows of one length need no padding and no mask, which makes a batch half again as fast.
    by_length = sorted(range(len(problems)), key=lambda i: len(problems[i].prompt.split()))
    jobs = [
        (cell, todo[start : start + batch[cell.model]])
        for cell in sweep.cells()
        if (todo := [i for i in by_length if (cell.name, problems[i].id) not in done])
        for start in range(0, len(todo), batch[cell.model])
    ]
    place = {index: number for number, index in enumerate(by_length)}
    return sorted(jobs, key=lambda job: place[job[1][0]]) if by_problem else jobs


def _journal(folder: FilePath) -> Journal[tuple[str, str], Entry]:
    return Journal(folder / "journal.jsonl", lambda entry: entry.key, read=Entry.read, write=Entry.json)


def _say_batch(model: str, fit: Fit, asked: int | None, say: Callable[[str], None]) -> None:
    """Say how large a model's batches are, and whether a larger size that was asked for does not fit."""
    if asked is None or fit.rows < asked:
        say(f"{model}: {fit}{f'; {asked} are asked for' if asked else ''}")


Job = tuple[Cell, list[int]]


@dataclass(frozen=True)
class _Evaluates:
    """Runs a job: returns its cell and results. Worker processes compute with one thread each."""

    sweep: Sweep
    problems: list[Problem]
    traces: int
    watch: Watch | None = None

    def __call__(self, job: Job) -> tuple[Cell, list[Entry]]:
        import torch

        if parent_process() is not None:
            keep_memory()
            torch.set_num_threads(1)
        cell, chunk = job
        return cell, evaluate(self.sweep, cell, self.problems, chunk, self.traces, self.watch)


def evaluate(
    sweep: Sweep,
    cell: Cell,
    problems: Sequence[Problem],
    chunk: Sequence[int],
    traces: int,
    watch: Watch | None = None,
) -> list[Entry]:
    """Decode and score the problems of a chunk. The unit of work of a sweep."""
    denoiser, task = opened(cell.model, sweep), load_task(sweep.task)
    policy, chosen = parse_policy(cell.policy), [problems[i] for i in chunk]
    canvases = sweep.lay_out(denoiser, chosen)
    found = decode_traces(
        denoiser,
        canvases,
        policy,
        budget=cell.budget,
        sampling=sweep.sampling,
        eos=sweep.eos,
        seed=sweep.seed,
        cache=cell.cache,
        reads=path_reader(task, chosen),
        watch=watch,
    )
    entries = []
    for index, problem, canvas, trace, seconds in zip(chunk, chosen, canvases, found, shares(found), strict=True):
        completion = parse(canvas, trace.final, denoiser.tokenizer, trace.uncounted)
        text = answer_text(task, completion.paths, completion.summary if canvas.spec.summary_tokens else None)
        answer, correct = task.extract(problem, text), task.check(problem, text)
        held = [holds for path in completion.paths for holds in equations(path)]
        setting = trace.setting | {"task": sweep.task}
        trace = dataclasses.replace(trace, answer=answer, correct=correct, setting=setting)
        row = Row(
            cell=cell.name, model=cell.model, policy=cell.policy, pace=cell.pace, task=sweep.task,
            problem_id=problem.id, index=index, correct=correct, answer=answer, text=text, paths=completion.paths,
            closed=sum(completion.closed), equations_right=sum(held) / len(held) if held else None,
            critical_path=critical_path(problem), cache=cell.cache, tokens=_tokens(trace), **vars(order_columns(trace)),
            **vars(tie_columns(trace)),
        )  # fmt: skip
        entries.append(Entry(row=checked(row), seconds=seconds, trace=trace if index < traces else None))
    return entries


def _tokens(trace: Trace) -> tuple[int, ...]:
    """The tokens of the slots, -1 for those that do not count."""
    hidden, slots = {*trace.uncounted}, zip(trace.final, trace.region, strict=True)
    return tuple(-1 if token in hidden else token for token, region in slots if region >= 0)


def shares(traces: Sequence[Trace]) -> list[float]:
    """The seconds of each row of a batch: the wall time of a step is shared by the rows that took part in it."""
    rows = Counter(step for trace in traces for step in range(len(trace.seconds)))
    return [sum(seconds / rows[step] for step, seconds in enumerate(trace.seconds)) for trace in traces]


def _finish(
    folder: FilePath, sweep: Sweep, problems: list[Problem], done: Mapping[Key, Entry], traces: int
) -> list[Row]:
    """Write rows.parquet, seconds.parquet and traces.jsonl, by cell and problem."""
    places = [(cell, index, problem.id) for cell in sweep.cells() for index, problem in enumerate(problems)]
    entries = [done[cell.name, name] for cell, _, name in places]
    rows = [_at(cell, index, entry.row) for entry, (cell, index, _) in zip(entries, places, strict=True)]
    kept = [entry.trace for entry, (_, index, _) in zip(entries, places, strict=True) if entry.trace and index < traces]
    write_rows(rows, folder / "rows.parquet")
    write_seconds(entries, folder / "seconds.parquet")
    write_traces(kept, folder / "traces.jsonl")
    return rows


def _at(cell: Cell, index: int, row: Row) -> Row:
    # In a run that has grown, a row may have another place; earlier versions named no cache.
    known = row.index == index and row.cache == cell.cache
    return row if known else dataclasses.replace(row, index=index, cache=cell.cache)
