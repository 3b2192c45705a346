"""Curation: problem -> independent paths -> check and selection -> summary -> sample, asking nothing twice.

    curate(Plan(task="gsm8k", models=("smollm2",)), "runs/gsm8k", [Endpoint(url=..., model="smollm2")])

1. Teachers fill the journal with `plan.asked` replies to every problem (or a file of solutions stands in for them).
2. `Choose` looks at the replies of one problem: which are usable, right, different enough, and wanted.
3. The summary comes from a template, or from the teacher that reads the paths, and must give the right answer.
4. Samples are written as samples.parquet, the same paths as one chain as longchain.parquet, with a card.

All but the asking is a pure function of the journal and the plan, so a finished run can be repeated byte for byte
without a teacher. Problems are processed one at a time: only they are in memory, and not the replies.

Does not know how a teacher is reached, and does not train.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import file_digest
from itertools import chain
from pathlib import Path as FilePath

from nap import __version__
from nap.common.files import InputError, atomic, read_text
from nap.common.folder import digest, run_folder
from nap.common.text import check_text
from nap.common.workers import Backend, map_rows
from nap.curation.card import SUMMARY, TROUBLES, Card, FileOf, Outcome, Tally, markdown, read_card
from nap.curation.choose import Choose, conclude, is_blank, summary_prompt, tokenizer_file, usage_of
from nap.curation.journal import FAILED, Journal, Reply, Request, companions, is_empty
from nap.curation.plan import Plan
from nap.curation.solutions import Solved, read_problems
from nap.curation.teacher import Asking, Endpoint, ask
from nap.data.problems import Problem, check_ids
from nap.data.samples import Sample, concatenated, read_samples, sample_to_row, write_samples

SAMPLES, LONG_CHAIN = "samples.parquet", "longchain.parquet"
# Files with the replies that have no text, and with the rows of problems that were left out, each with its reason.
# Absent if empty.
LEFT_OUT = "left_out.jsonl"
CARD, JOURNAL = "card.json", "journal.sqlite"
# What the fields were that earlier versions did not write into a run's setting.
LATER: dict[str, object] = {"prompt_field": None, "answer_field": None}


@dataclass(frozen=True, kw_only=True)
class Work:
    """How the work is done. Nothing here changes the data set.

    asking             how teachers are asked
    offline            ask nobody; replies missing in the journal count as failed
    backend, workers   where paths are chosen (`engine.map_rows`)
    report             called with the requests settled so far, and all of them
    """

    asking: Asking = field(default_factory=Asking)
    offline: bool = False
    backend: Backend = "processes"
    workers: int = 1
    report: Callable[[int, int], None] = lambda settled, most: None


@dataclass(frozen=True, kw_only=True)
class Last:
    """The last check of a sample: if `keeps` rejects its paths, it is left out as too sequential."""

    keeps: Callable[[Outcome], bool]
    setting: str


def curate(
    plan: Plan,
    folder: str | FilePath,
    teachers: Sequence[Endpoint] = (),
    *,
    work: Work | None = None,
    journal: str | FilePath | None = None,
    last: Last | None = None,
) -> Card:
    """Make the data set in `folder`, or finish it. Returns its card.

    teachers  one for each of the plan's models, in order
    journal   journal of the replies; by default the folder's own. Several plans may use one journal, one at a time

    Raises InputError for a folder with another plan or something else in it, a folder in which another process is
    working, and a teacher that is down.
    """
    folder, work = FilePath(folder), work or Work()
    if tuple(teacher.model for teacher in teachers) != plan.models:
        raise InputError(f"the plan asks {len(plan.models)} models, and there are {len(teachers)} teachers for them")
    problems = _Problems(plan, last)
    replies = FilePath(journal or folder / JOURNAL)

    def is_unused() -> bool:
        # A wrong model name or a flag may have left no sample; the replies are reused.
        return _is_without_samples(folder / CARD) if (folder / CARD).exists() else is_empty(replies)

    kept = run_folder(
        folder, "curate", problems.setting, may_hold=companions(JOURNAL), is_unused=is_unused, later=LATER
    )
    with kept, Journal(replies) as opened:
        if card := _finished(folder, work.asking.again):
            return card
        run = _Run(problems, opened, work)
        run.ask(teachers, [run.groups(turn) for turn in range(len(teachers))], len(problems.solved) * plan.asked)
        if plan.summary == "teacher":
            run.ask(teachers[:1], [run.summary_groups()], len(problems.solved))
        return _write(folder, run)


class _Problems:
    """The problems of a run, with solutions if a file has them, and its prompts."""

    def __init__(self, plan: Plan, last: Last | None) -> None:
        self.plan, self.last = plan, last
        self.templates, self.summary = plan.templates, plan.summary_template
        self.solved, self.left_out = read_problems(plan)
        if not self.solved:
            raise InputError(f"{plan.source} holds no problems")
        for problem, _ in self.solved:
            check_text(f"problem {problem.id!a}", problem.id + problem.prompt + problem.answer)
        check_ids((problem for problem, _ in self.solved), plan.task)

    @property
    def prompts(self) -> dict[str, str]:
        """The texts of all templates by name."""
        return self.templates | {"summary": self.summary}

    @property
    def setting(self) -> dict[str, object]:
        """Everything that the data set depends on."""
        plan, tokenizer = self.plan, self.plan.tokenizer
        solved = [[asdict(problem), [asdict(reply) for _, reply in replies]] for problem, replies in self.solved]
        made_of = {
            "problems": digest(json.dumps(solved).encode()),
            "tokenizer": digest(tokenizer_file(tokenizer).read_bytes()) if tokenizer else None,
        }
        # `strict` can only refuse a file; it does not change the data set.
        said = {name: value for name, value in asdict(plan).items() if name != "strict"}
        return said | {
            "prompts": self.prompts,
            "licences": dict(plan.licences),
            "tokens_counted_by": plan.tokens_counted_by,
            "last": self.last.setting if self.last else None,
            "nap": __version__,
            "made_of": made_of,
        }


class _Run:
    """A run over its open journal."""

    def __init__(self, problems: _Problems, journal: Journal, work: Work) -> None:
        self.problems, self.plan, self.journal, self.work = problems, problems.plan, journal, work
        # The replies to requests for a summary that have no text, by problem, as far as problems are concluded.
        self.unwritten = dict[str, Reply]()

    def ask(self, teachers: Sequence[Endpoint], groups: Sequence[Iterable[Sequence[Request]]], most: int) -> None:
        """Have each teacher answer its groups, at most `most` requests in all."""
        settled = 0

        def count(more: int) -> None:
            nonlocal settled
            settled += more
            self.work.report(settled, most)

        if teachers and not self.work.offline:
            ask(list(zip(teachers, groups, strict=True)), self.journal, self.work.asking, count)

    def requests(self, problem: Problem) -> list[Request]:
        """The requests about a problem."""
        return self.plan.requests(problem, [*self.problems.templates.values()])

    def groups(self, turn: int) -> Iterator[list[Request]]:
        """The requests to teacher `turn`, grouped by problem and prompt."""
        for problem, _ in self.problems.solved:
            groups = defaultdict[str, list[Request]](list)
            for request in self.requests(problem)[turn :: len(self.plan.models)]:
                groups[request.prompt].append(request)
            yield from groups.values()

    def solved(self) -> Iterator[Solved]:
        """Every problem with its replies, read as they are needed."""
        if self.plan.solutions:
            yield from self.problems.solved
            return
        for problem, _ in self.problems.solved:
            requests = self.requests(problem)
            yield Solved(problem, tuple((request.model, self.reply(request)) for request in requests))

    def reply(self, request: Request) -> Reply:
        """The reply in the journal, or a failed one if it has none."""
        return self.journal.get(request) or Reply(finish=FAILED, error="not asked")

    def chosen(self) -> Iterator[Outcome]:
        """The outcome of every problem, without its summary."""
        last = self.problems.last
        for outcome in map_rows(Choose(self.plan), self.solved(), backend=self.work.backend, workers=self.work.workers):
            late = last and outcome.end == "sample" and not last.keeps(outcome)
            yield outcome.dropped("too_sequential") if late else outcome

    def summary_groups(self) -> Iterator[list[Request]]:
        """The requests for a summary of each sample's paths."""
        return ([self.summary_request(outcome)] for outcome in self.chosen() if outcome.end == "sample")

    def summary_request(self, outcome: Outcome) -> Request:
        """The request for a summary of the outcome's paths."""
        return self.plan.request(self.plan.models[0], summary_prompt(self.problems.summary, outcome))

    def concluded(self) -> Iterator[Outcome]:
        """The outcome of every problem."""
        for outcome in self.chosen():
            yield self.conclude(outcome) if outcome.end == "sample" else outcome

    def conclude(self, outcome: Outcome) -> Outcome:
        """The outcome with its summary."""
        if self.plan.summary == "template":
            return conclude(self.plan, outcome, Reply(text=summary_prompt(self.problems.summary, outcome)))
        reply = self.reply(self.summary_request(outcome))
        if is_blank(reply):
            self.unwritten[outcome.problem.id] = reply
        outcome = replace(outcome, usage=usage_of([reply]) + Counter(outcome.usage))
        return conclude(self.plan, outcome, reply)


def _write(folder: FilePath, run: _Run) -> Card:
    """Write the two data sets, and last the card, which marks the run as finished."""
    tally = Tally()
    rows = write_samples(_samples(run.concluded(), tally), folder / SAMPLES)
    write_samples(map(concatenated, read_samples(folder / SAMPLES)), folder / LONG_CHAIN)
    files = {name: FileOf(rows=rows, sha256=_sha256(folder / name)) for name in (SAMPLES, LONG_CHAIN)}
    left_out = run.problems.left_out
    card = tally.card(run.problems.setting, files, run.plan.prices)
    card = replace(card, rows_left_out=len(left_out))
    card = replace(card, digest=_digest_of(asdict(card)))
    _list(folder / LEFT_OUT, ({"reason": reason} for reason in left_out), bool(left_out))
    are_any = run.unwritten or any(card.replies[fate] for fate in ("failed", "refused", "empty"))
    _list(folder / TROUBLES, _troubles(run), bool(are_any))
    example = next((sample_to_row(sample) for sample in read_samples(folder / SAMPLES)), None)
    with atomic(folder / "README.md") as file:
        file.write(markdown(card, run.plan, run.problems.prompts, example))
    with atomic(folder / CARD) as file:
        file.write(json.dumps(asdict(card), indent=1) + "\n")
    return card


def _samples(outcomes: Iterable[Outcome], tally: Tally) -> Iterator[Sample]:
    for outcome in outcomes:
        tally.add(outcome)
        if outcome.end == "sample":
            yield Sample(problem=outcome.problem, paths=outcome.paths, summary=outcome.summary)


def _list(path: FilePath, rows: Iterable[Mapping[str, object]], are_any: bool) -> None:
    """Write the rows as JSON lines; no file where there are none."""
    if not are_any:
        path.unlink(missing_ok=True)
        return
    with atomic(path) as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def _troubles(run: _Run) -> Iterator[Mapping[str, object]]:
    """The replies and summaries without a text, each with what the teacher said."""
    for problem, replies in run.solved():
        named: Iterable[tuple[object, tuple[str, Reply]]] = enumerate(replies)
        if summary := run.unwritten.get(problem.id):
            named = chain(named, [(SUMMARY, (run.plan.models[0], summary))])
        for name, (model, reply) in named:
            if is_blank(reply):
                row = {"id": problem.id, "model": model, "reply": name, "finish": reply.finish}
                yield row | {"error": reply.error}


def _finished(folder: FilePath, again: bool) -> Card | None:
    """The card of a run with nothing left to do: no reply is missing, and its files are unchanged.

    again  a refused reply counts as missing too
    """
    path = folder / CARD
    if not path.exists() or _is_without_samples(path):
        return None
    try:
        text = read_text(path)
        card = read_card(text)
        # A file that was changed since, by a bad disk or by hand, is made again.
        if card.digest != _digest_of(json.loads(text)) or card.files.keys() != {SAMPLES, LONG_CHAIN}:
            return None
        whole = all(_sha256(folder / name) == found.sha256 for name, found in card.files.items())
        # Earlier versions counted a refused summary as none.
        refused = card.replies["refused"] + card.problems.get("summary_refused", card.problems.get("no_summary", 0))
        left = card.replies["failed"] + card.problems.get("summary_failed", 0) + (refused if again else 0)
        return card if whole and not left else None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, FileNotFoundError):
        return None


def _digest_of(card: Mapping[str, object]) -> str:
    parts = {name: part for name, part in card.items() if name != "digest"}
    return digest(json.dumps(parts, sort_keys=True).encode())


def _is_without_samples(path: FilePath) -> bool:
    try:
        return json.loads(read_text(path))["problems"]["sample"] == 0
    except (ValueError, LookupError, TypeError, RecursionError):
        return False


def _sha256(path: FilePath) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
