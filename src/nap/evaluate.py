"""Sweep models x policies x budgets over the problems of a task: one row a problem, resumable, the same every time.

A run's folder holds `journal.jsonl` (what is done, in the order it was done), and once all is done `rows.parquet` (to
the byte the same whatever the batch size, the workers or the kills on the way), `seconds.parquet`, `traces.jsonl` and
the summary (summary.py). Counting rules: docs/counting.md.

Does not summarise, and does not know how a policy decides.
"""

import dataclasses
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path as FilePath
from typing import Any, get_args

from nap.canvas import CanvasSpec, layout, parse
from nap.decode import Budget, Eos, Sampling, decode_traces
from nap.denoiser import Denoiser, load, prompt_ids
from nap.files import InputError, atomic
from nap.metrics import measure
from nap.policies import parse_policy
from nap.schema import Problem, Trace, trace_from_row, trace_to_row, write_traces
from nap.tasks import load_task

ORDER_COLUMNS = (
    "n_tokens", "n_uncounted", "n_steps", "forwards", "tpf", "afp", "tau_b", "tied_share",
    "global_arness@1", "global_arness@1_optimistic", "global_arness@1_pessimistic", "global_arness@1_random",
    "local_arness@1",
)  # fmt: skip
PATH_COLUMNS = ("global_arness@1", "global_arness@1_random", "local_arness@1", "tau_b")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One setting of a sweep. `canvas` None takes the model's own."""

    model: str
    policy: str
    budget: Budget
    canvas: CanvasSpec | None = None

    @property
    def pace(self) -> str:
        """`4/step`, `64 steps` or `own`."""
        if self.budget.tokens:
            return f"{self.budget.tokens}/step"
        return f"{self.budget.steps} steps" if self.budget.steps else "own"

    @property
    def name(self) -> str:
        """`model | policy | pace`: the key of rows and journal."""
        return f"{self.model} | {self.policy} | {self.pace}"


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What to evaluate.

    models           folders, bundled names or hub names
    policies         as `parse_policy` reads them
    tokens_per_step  budgets for the policies that follow one; those that set their own pace run once
    steps            budgets given as a number of steps, beside them
    problems         how many of the task's split (from the file `data`, if the task reads one)
    """

    task: str
    models: tuple[str, ...]
    policies: tuple[str, ...]
    tokens_per_step: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()
    problems: int = 200
    split: str = "test"
    data: str | None = None
    canvas: CanvasSpec | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    eos: Eos = "count"
    seed: int = 0
    raw: bool = False
    device: str = "cpu"
    dtype: str = "auto"
    revision: str | None = None
    trust_remote_code: bool = False
    mask_id: int | None = None

    def __post_init__(self) -> None:
        if self.problems < 1:
            raise InputError(f"problems must be at least 1, got {self.problems}")
        if self.eos not in get_args(Eos):
            raise InputError(f"unknown eos setting {self.eos!r}; known: {', '.join(get_args(Eos))}")
        for name in ("models", "policies"):
            if not getattr(self, name):
                raise InputError(f"a sweep needs at least one of its {name}")
        self.cells()

    @property
    def sampling(self) -> Sampling:
        """How candidates are drawn."""
        return Sampling(temperature=self.temperature, top_p=self.top_p, top_k=self.top_k)

    def cells(self) -> list[Cell]:
        """Every setting once, in the order given. Raises InputError for a policy that lacks its budget."""
        paces = [Budget(tokens=k) for k in self.tokens_per_step] + [Budget(steps=s) for s in self.steps]
        found = []
        for model in self.models:
            for text in self.policies:
                policy = parse_policy(text)
                budgets = (paces or [Budget()]) if policy.paced else [Budget()]
                for budget in budgets:
                    budget.check(policy)
                    found.append(Cell(model=model, policy=text, budget=budget, canvas=self.canvas))
        return list(dict.fromkeys(found))

    def load_problems(self) -> list[Problem]:
        """The problems. Raises InputError if there are none."""
        problems = load_task(self.task).load(self.split, self.problems, self.data)
        if not problems:
            raise InputError(f"task {self.task!r} has no problems in split {self.split!r}")
        return problems


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands: problems decoded of all, since this start, and just now; `seconds` since this start."""

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
    batch_size: int = 16,
    workers: int = 1,
    traces: int = 20,
    report: Callable[[Progress], None] = lambda progress: None,
) -> list[dict[str, Any]]:
    """Run what is not done yet and write the run's files. Returns the rows, by cell and problem.

    traces   keep the traces of this many problems of each cell

    Raises InputError if the folder holds a run with another setting.
    """
    folder = FilePath(folder)
    _claim(folder, sweep)
    problems = sweep.load_problems()
    for model in sweep.models:  # A model that cannot be loaded should stop the run before it starts.
        _denoiser(model, sweep)
    journal = _Journal(folder / "journal.jsonl")
    jobs = [
        (cell, chunk)
        for cell in sweep.cells()
        for chunk in _chunks([i for i, p in enumerate(problems) if (cell.name, p.id) not in journal.done], batch_size)
    ]
    total, started, fresh = len(problems) * len(sweep.cells()), time.perf_counter(), 0
    for cell, results in _map(sweep, problems, jobs, workers, traces):
        journal.add(results)
        fresh += len(results)
        seconds = time.perf_counter() - started
        report(
            Progress(
                done=len(journal.done), total=total, fresh=fresh, batch=len(results), seconds=seconds, cell=cell.name
            )
        )
    return _finish(folder, sweep, problems, journal)


def _claim(folder: FilePath, sweep: Sweep) -> None:
    """Write the setting, or refuse to mix it with another one."""
    setting = json.loads(json.dumps(asdict(sweep)))
    path = folder / "setting.json"
    if path.exists():
        old = json.loads(path.read_text(encoding="utf-8"))
        if differ := sorted(key for key in {*old, *setting} if old.get(key) != setting.get(key)):
            was, now = ({key: side.get(key) for key in differ} for side in (old, setting))
            raise InputError(f"{folder} holds a run with another setting ({was}, now {now}); choose another folder")
        return
    with atomic(path) as file:
        file.write(json.dumps(setting, indent=1) + "\n")


class _Journal:
    """Finished problems, a line each, appended; a line that a kill cut short is dropped on opening."""

    def __init__(self, path: FilePath) -> None:
        self.path = path
        self.done: dict[tuple[str, str], dict[str, Any]] = {}
        if path.exists():
            whole, _, _ = path.read_bytes().rpartition(b"\n")
            entries = [json.loads(line) for line in whole.splitlines()]
            self.done = {(entry["row"]["cell"], entry["row"]["problem_id"]): entry for entry in entries}
            with path.open("r+b") as file:
                file.truncate(len(whole) + bool(whole))

    def add(self, entries: Sequence[dict[str, Any]]) -> None:
        """Append and flush to disk."""
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(entry) + "\n" for entry in entries)
            file.flush()
            os.fsync(file.fileno())
        self.done |= {(entry["row"]["cell"], entry["row"]["problem_id"]): entry for entry in entries}


def _chunks(items: list[int], size: int) -> Iterator[list[int]]:
    yield from (items[i : i + size] for i in range(0, len(items), size))


Job = tuple[Cell, list[int]]


def _map(
    sweep: Sweep, problems: list[Problem], jobs: list[Job], workers: int, traces: int
) -> Iterator[tuple[Cell, list[dict[str, Any]]]]:
    """The results of the jobs as they finish, here or in `workers` processes of one thread each."""
    if workers <= 1:
        yield from ((cell, evaluate(sweep, cell, problems, chunk, traces)) for cell, chunk in jobs)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (os.getpid(),)) as pool:
        futures = {pool.submit(evaluate, sweep, cell, problems, chunk, traces): cell for cell, chunk in jobs}
        try:
            yield from ((futures[future], future.result()) for future in as_completed(futures))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start_worker(parent: int) -> None:
    import torch

    torch.set_num_threads(1)

    def watch() -> None:
        # A killed parent cannot tell its workers: they would wait for jobs for ever.
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@lru_cache(maxsize=4)
def _load(model: str, **options: Any) -> Denoiser:
    return load(model, **options)


def _denoiser(model: str, sweep: Sweep) -> Denoiser:
    names = ("revision", "device", "dtype", "trust_remote_code", "mask_id")
    return _load(model, **{name: getattr(sweep, name) for name in names})


def canvas_spec(denoiser: Denoiser, wanted: CanvasSpec | None) -> CanvasSpec:
    """The canvas asked for, or the model's own. Raises InputError if there is neither."""
    spec = wanted or denoiser.canvas
    if spec is None:
        raise InputError(
            f"{denoiser.setting.get('model')} does not say what canvas it was trained on (canvas.json); "
            "give one: --canvas plain --path-tokens 256, or --canvas nap with --paths, --path-tokens, --summary-tokens"
        )
    return spec


def evaluate(
    sweep: Sweep, cell: Cell, problems: Sequence[Problem], chunk: Sequence[int], traces: int
) -> list[dict[str, Any]]:
    """Decode and score the problems of a chunk: {row, seconds, trace} each. The unit of work of a sweep."""
    denoiser, task = _denoiser(cell.model, sweep), load_task(sweep.task)
    spec, policy = canvas_spec(denoiser, cell.canvas), parse_policy(cell.policy)
    chosen = [problems[i] for i in chunk]
    canvases = [
        layout(prompt_ids(denoiser, p.prompt, sweep.raw), spec, denoiser.tokenizer, denoiser.mask_id, problem_id=p.id)
        for p in chosen
    ]
    found = decode_traces(
        denoiser, canvases, policy, budget=cell.budget, sampling=sweep.sampling, eos=sweep.eos, seed=sweep.seed
    )
    entries = []
    for index, problem, canvas, trace in zip(chunk, chosen, canvases, found, strict=True):
        completion = parse(canvas, trace.final, denoiser.tokenizer, trace.uncounted)
        text = completion.summary if spec.summary_tokens else completion.paths[0]
        answer, correct = task.extract(problem, text), task.check(problem, text)
        trace = dataclasses.replace(trace, answer=answer, correct=correct)
        row = {
            "cell": cell.name, "model": cell.model, "policy": cell.policy, "pace": cell.pace, "task": sweep.task,
            "problem_id": problem.id, "index": index, "correct": correct, "answer": answer, "text": text,
            "paths": list(completion.paths), "closed": sum(completion.closed),
            "critical_path": problem.meta.get("critical_path"), **order_columns(trace),
        }  # fmt: skip
        kept = trace_to_row(trace) if index < traces else None
        entries.append({"row": row, "seconds": sum(trace.seconds) / len(chunk), "trace": kept})
    return entries


def order_columns(trace: Trace) -> dict[str, float | None]:
    """The order metrics of one trace that a sweep keeps, flat; `path_` columns are means over the paths."""
    report = measure(trace, ks=(1,))
    path = {f"path_{name}": report["path_mean"][name] for name in PATH_COLUMNS}
    return {name: report[name] for name in ORDER_COLUMNS} | path


def _finish(folder: FilePath, sweep: Sweep, problems: list[Problem], journal: _Journal) -> list[dict[str, Any]]:
    """Write rows.parquet, seconds.parquet and traces.jsonl, by cell and problem."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    entries = [journal.done[cell.name, problem.id] for cell in sweep.cells() for problem in problems]
    rows = [entry["row"] for entry in entries]
    seconds = [
        {"cell": entry["row"]["cell"], "problem_id": entry["row"]["problem_id"], "seconds": entry["seconds"]}
        for entry in entries
    ]
    for name, table in (("rows", rows), ("seconds", seconds)):
        with atomic(folder / f"{name}.parquet", "wb") as file:
            pq.write_table(pa.Table.from_pylist(table), file, compression="zstd")
    write_traces((trace_from_row(entry["trace"]) for entry in entries if entry["trace"]), folder / "traces.jsonl")
    return rows
