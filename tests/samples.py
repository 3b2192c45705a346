"""Traces and run folders made by hand, for the report and its page: no model, every number known."""

import json
import random
from pathlib import Path
from typing import Any

from nap.common.journal import Journal
from nap.data.trace import COMMIT, EDIT, FILL, HEADER, PROMPT, REMASK, Event, Trace
from nap.data.trace_files import write_traces
from nap.evaluation.record_files import write_summary
from nap.evaluation.rows import Entry, Row, write_rows
from nap.evaluation.summary import summarise

MASK, PAD, HEAD = 0, 1, 2
WORDS = {MASK: "<mask>", PAD: "<pad>", HEAD: "<think>", 3: " two", 4: " +", 5: " six", 6: " is", 7: "eight"}
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>\"'&\u202e\u2028\x07"


def regions(paths: int, length: int, summary: int) -> tuple[int, ...]:
    """A prompt of three tokens, then slots, each behind its header."""
    slots = [code for path in range(paths) for code in (HEADER, *[path] * length)]
    return (PROMPT,) * 3 + tuple(slots) + ((HEADER, *[paths] * summary) if summary else ())


def trace_of(events: list[tuple[Any, ...]], paths: int = 1, length: int = 4, summary: int = 0, **changes: Any) -> Trace:
    """A trace of (step, kind, position, token[, probability]) tuples."""
    region = regions(paths, length, summary)
    initial = tuple({PROMPT: 7, HEADER: HEAD}.get(code, MASK) for code in region)
    full = tuple(Event(*event, *[0.5] * (5 - len(event))) for event in events)
    known: dict[str, Any] = {
        "problem_id": "p0", "initial": initial, "region": region, "events": full, "mask_id": MASK,
        "forwards": full[-1].step + 1 if full else 0, "seconds": (0.01,) * (full[-1].step + 1 if full else 0),
        "uncounted": (PAD,), "vocabulary": WORDS, "answer": "8", "correct": True,
        "setting": {"model": {"model": "toy"}, "policy": "ar", "budget": {"tokens": 1}},
    }  # fmt: skip
    return Trace(**known | changes)


def chain(length: int = 24, **changes: Any) -> Trace:
    """One path, left to right, a token a step."""
    start = 4
    return trace_of([(i, COMMIT, start + i, 3 + i % 5, 0.9) for i in range(length)], length=length, **changes)


def lanes(length: int = 8, **changes: Any) -> Trace:
    """Three paths at once, then a summary; one token is masked again, one edited, and the last is padding."""
    starts = [4 + path * (length + 1) for path in range(3)]
    events = [(i, COMMIT, start + i, 3 + i % 5, 0.8) for i in range(length) for start in starts]
    again, end = starts[1] + 2, starts[2] + length + 1
    events = [event for event in events if event[0] < 5] + [(5, REMASK, again, 0), (5, EDIT, starts[0], 7)] + [
        (step + 1, *rest) for step, *rest in events if step >= 5
    ]  # fmt: skip
    events += [(length + 1, COMMIT, again, 5, 0.3), (length + 2, COMMIT, end, 7, 1.0), (length + 2, FILL, end + 1, PAD)]
    return trace_of(events, paths=3, length=length, summary=2, **changes)


def shuffled(seed: int) -> Trace:
    """Three paths filled in random order at a random pace, with padding, and what is masked again is written again."""
    draw = random.Random(seed)
    free = [p for p, code in enumerate(regions(3, 6, 2)) if code >= 0]
    draw.shuffle(free)
    events, step = [], 0
    while free:
        chosen, free = free[: draw.randint(1, 4)], free[4:]
        events += [(step, COMMIT, position, draw.choice([PAD, 3, 4, 5, 6])) for position in chosen]
        if draw.random() < 0.3:
            events.append((step + 1, REMASK, chosen[0], MASK))
            free.append(chosen[0])
        step += draw.randint(1, 2)
    events.sort(key=lambda event: event[0])
    return trace_of(_legal(events), paths=3, length=6, summary=2, problem_id=f"shuffled-{seed}")


def _legal(events: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Without commits to what is written already and remasks of what is not."""
    written, kept = set(), []
    for event in events:
        if (event[1] == REMASK) == (event[2] in written):
            written ^= {event[2]}
            kept.append(event)
    return kept


def row(model: str, policy: str, pace: str, problem: str, correct: bool, **columns: Any) -> Row:
    """A row of a sweep."""
    names = {"cell": f"{model} | {policy} | {pace}", "model": model, "policy": policy, "pace": pace, "task": "arith"}
    values = {"tpf": 2.0, "global_arness_at_1": 0.5, "path_global_arness_at_1": 0.75, "forwards": 12}
    known: dict[str, Any] = names | values | {"critical_path": 3} | columns
    return Row(problem_id=problem, correct=correct, **known)


def small_rows() -> list[Row]:
    """Two models under two policies at two paces, six problems each."""
    return [
        row(model, policy, pace, f"p{i}", i < right, tpf=tokens * 0.9, forwards=24 // tokens, critical_path=1 + i % 3)
        for model, right in (("longcot", 2), ("nap", 4))
        for policy in ("low_confidence", "parallel_forced")
        for pace, tokens in (("1/step", 1), ("4/step", 4))
        for i in range(6)
    ]


def small_traces() -> list[Trace]:
    """For each cell of `small_rows` the traces of its first two problems."""
    cells = [(model, policy) for model in ("longcot", "nap") for policy in ("low_confidence", "parallel_forced")]
    made = {"longcot": chain, "nap": lanes}
    return [
        made[model](problem_id=f"p{i}", correct=i == 0, setting={"model": {"model": model}, "policy": policy})
        for model, policy in cells
        for _ in range(2)
        for i in range(2)
    ]


def write_run(folder: Path, rows: list[Row], traces: list[Trace], setting: dict[str, Any] | None = None) -> Path:
    """A folder as `nap eval --out` leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {"task": "arith", "models": ["longcot", "nap"], "policies": ["ar"], "problems": 6, "nap": "0.1.0"}
    (folder / "setting.json").write_text(json.dumps(known | (setting or {})))
    write_rows(rows, folder / "rows.parquet")
    write_traces(traces, folder / "traces.jsonl")
    if rows:
        write_summary(summarise(rows), folder)
    return folder


def write_journal(folder: Path, rows: list[Row], trace: Trace, tail: str = "") -> Path:
    """A folder of a run that is still being written: `tail` is the line that is not whole yet."""
    folder.mkdir(parents=True, exist_ok=True)
    made = [Entry(row=row, seconds=0.1, trace=None if number else trace) for number, row in enumerate(rows)]
    with Journal(folder / "journal.jsonl", lambda entry: entry.key, read=Entry.read, write=Entry.json) as journal:
        journal.add(made)
    with (folder / "journal.jsonl").open("a") as file:
        file.write(tail)
    return folder
