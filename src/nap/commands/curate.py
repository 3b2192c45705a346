"""`nap curate`: a multi-path training set from a teacher, or from a file of solutions.

Does not ask, check or choose (curation/); reads the flags and prints progress.
"""

import json
import math
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import OmitArgPrefixes, arg

from nap.commands import progress
from nap.commands.flags import Columns, Whole, Words
from nap.common.files import InputError
from nap.common.records import changed

if TYPE_CHECKING:
    from nap.curation.card import Card, Outcome
    from nap.curation.curate import Last
    from nap.curation.plan import Plan
    from nap.curation.teacher import Asking, Endpoint


@dataclass(frozen=True, kw_only=True)
class Teachers:
    """Who writes the paths."""

    teacher: tuple[str, ...] = ()
    """URLs of OpenAI-compatible endpoints, such as http://127.0.0.1:8080/v1; a problem's replies go to them in turn"""
    model: tuple[str, ...] = ()
    """the name of the model that each endpoint serves, or one name for all"""
    key_env: str = "OPENAI_API_KEY"
    """the environment variable that holds the API key"""
    concurrency: int = 16
    """how many requests each endpoint works on at once"""
    per_minute: int = 0
    """the most requests a minute to each endpoint; 0: no limit"""
    timeout: float = 600.0
    """seconds that one attempt may take"""
    retries: int = 5
    """how often a failed request is tried again"""
    together: bool = False
    """ask for all paths of a problem in one request (n), where the server can"""

    ask_refused: bool = False
    """ask again for what a teacher refused in an earlier run"""

    def endpoints(self) -> "tuple[Endpoint, ...]":
        """The endpoints. Raises InputError unless there is a model for each."""
        from nap.curation.teacher import Endpoint

        models = self.model * len(self.teacher) if len(self.model) == 1 else self.model
        if len(models) != len(self.teacher):
            raise InputError(
                f"{len(self.teacher)} of --teacher and {len(self.model)} of --model; give one for each, or one for all"
            )
        pairs = zip(self.teacher, models, strict=True)
        return tuple(Endpoint(url=url, model=model, key_env=self.key_env) for url, model in pairs)

    def asking(self) -> "Asking":
        """The settings of the requests."""
        from nap.curation.teacher import Asking

        return Asking(
            concurrency=self.concurrency, per_minute=self.per_minute, timeout=self.timeout, retries=self.retries,
            together=self.together, again=self.ask_refused, say=say,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Curate:
    """Make a multi-path training set from a teacher or a file.

    A killed run resumes. A finished run can be repeated without a teacher.
    """

    task: str
    """the task that gives the problems and checks the answers: gsm8k, math500, jsonl..."""
    out: str
    """the run's folder"""
    teachers: OmitArgPrefixes[Teachers] = Teachers()
    solutions: Words = None
    """a file of problems with several solutions each, in place of a teacher and of --data"""
    field: Words = None
    """the field of its rows that holds the solutions (default: the usual names)"""
    columns: OmitArgPrefixes[Columns] = Columns()
    split: str = "train"
    """train or test"""
    data: Words = None
    """the task's problems from this file"""
    problems: Whole = None
    """how many problems, from the first one on (default: all)"""
    prompts: tuple[str, ...] = ("boxed",)
    """prompt templates with {problem}, bundled or files; the requests of a problem use them in turn"""
    samples: int = 0
    """how many replies to ask for, for each problem; 0: as many as --paths"""
    temperature: float = 1.0
    """the temperature at which the teacher samples"""
    top_p: float = 1.0
    """nucleus sampling: the teacher draws from the likeliest tokens that together have this probability"""
    max_tokens: int = 1024
    """the most tokens of one reply"""
    seed: int = 0
    """reply i of a problem is asked for with the seed SEED + i"""
    paths: int = 3
    """how many paths a sample has"""
    path_tokens: int = 330
    """tokens of a path's slot; longer replies are not used"""
    summary_tokens: int = 32
    """tokens of the summary's slot"""
    tokenizer: Words = None
    """tokenizer (folder or tokenizer.json) of the model to be trained, to count tokens (default: an estimate)"""
    select: Literal["all", "mixed", "correct", "quota"] = "all"
    """all: right and wrong paths as they come, as in the paper; mixed: at least one of each; correct: right ones only;
    quota: as many wrong ones as --wrong says"""
    wrong: Whole = None
    """how many wrong paths a sample has, with --select quota (default: 1)"""
    max_overlap: float = 0.9
    """the largest share of 4-word sequences that two paths of a sample may share"""
    diverse: bool = False
    """where more replies are usable than needed, take those that differ most, instead of the first"""
    embedder: Words = None
    """folder or hub name of an embedding model; paths are then compared by embeddings too"""
    max_similarity: float = 0.98
    """with --embedder: the largest cosine similarity between two paths of a sample"""
    reasoning: Literal["before", "dropped"] = "before"
    """what happens to reasoning that a server returns apart from the text: before puts it in front, dropped drops it"""
    summary: Literal["template", "teacher"] = "template"
    """template: made from the right answer, as in the paper; teacher: written by the first teacher and checked"""
    summary_prompt: Words = None
    """the template of the summary: with {answer}, or for a teacher with {problem} and {paths}"""
    max_seqdep: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint="")] = None
    """leave out samples whose paths depend on each other by more nats a token, measured by --scorer"""
    scorer: Words = None
    """the model or server that measures this dependence (see nap seqdep)"""
    price_prompt: float = 0.0
    """price of a million prompt tokens, for the card"""
    price_completion: float = 0.0
    """price of a million completion tokens, for the card"""
    license: str = "unknown"
    """license of the data set, for the card"""
    problems_license: str = "unknown"
    """license of the problems, for the card"""
    teacher_license: str = "unknown"
    """license of the teacher's replies, for the card"""
    journal: Words = None
    """keep the replies in this file; several runs may use it, one at a time (default: in the run's folder)"""
    offline: bool = False
    """ask no teacher; use only the replies in the journal"""
    backend: Literal["threads", "processes", "ray"] = "processes"
    """where replies are checked"""
    workers: int = 1
    """how many threads, processes or Ray workers check replies"""
    json: bool = False
    """print the card as JSON"""

    def run(self) -> None:
        """Make the data set and print how many problems became samples."""
        from nap.curation.card import advice
        from nap.curation.curate import Work, curate

        endpoints = self.teachers.endpoints()
        if self.solutions and not endpoints and (unused := changed(self.teachers)):
            flag = next(iter(unused)).replace("_", "-")
            raise InputError(f"--{flag} is for teachers, and the paths come from {self.solutions}; drop one of them")
        plan = self._plan(tuple(endpoint.model for endpoint in endpoints))
        with progress.bar("replies", "reading the problems") as bar:
            work = Work(
                asking=self.teachers.asking(), offline=self.offline, backend=self.backend, workers=self.workers,
                report=bar.show,
            )  # fmt: skip
            card = curate(plan, self.out, endpoints, work=work, journal=self.journal, last=self._last())
        print(json.dumps(asdict(card)) if self.json else summary_of(card))
        if not card.problems["sample"]:
            raise InputError(f"no sample was made: {advice(card, self.out, self.offline)}")
        print(f"samples, the long chain and their card are in {self.out}; next:", file=sys.stderr)
        print(f"  {self._measure()}\n  {self._train(card)}", file=sys.stderr)

    def _measure(self) -> str:
        return shlex.join(
            ["nap", "seqdep", str(Path(self.out) / "samples.parquet"), "--scorer", self.scorer or "SCORER"]
        )

    def _train(self, card: "Card") -> str:
        from nap.curation.card import train_command

        known = self.tokenizer if self.tokenizer and Path(self.tokenizer).is_dir() else "MODEL"
        return train_command(card.setting, self.out, known)

    def _plan(self, models: tuple[str, ...]) -> "Plan":
        from nap.curation.plan import Plan

        if self.wrong is not None and self.select != "quota":
            raise InputError(f"--wrong changes nothing with --select {self.select}; choose --select quota, or drop it")
        licences = {"data": self.license, "problems": self.problems_license, "teacher": self.teacher_license}
        same = {f.name: getattr(self, f.name) for f in fields(Plan) if hasattr(self, f.name)}
        others = {
            "models": models, "limit": self.problems, "wrong": 1 if self.wrong is None else self.wrong,
            "prices": (self.price_prompt, self.price_completion), "licences": tuple(licences.items()),
        }  # fmt: skip
        return Plan(**same | others | asdict(self.columns))

    def _last(self) -> "Last | None":
        if (self.max_seqdep is None) != (self.scorer is None):
            raise InputError("--max-seqdep and --scorer go together; give both or neither")
        if self.max_seqdep is None or self.scorer is None:
            return None
        if not math.isfinite(self.max_seqdep):
            raise InputError(f"--max-seqdep must be a finite number of nats, got {self.max_seqdep}")
        from nap.curation.curate import Last
        from nap.dependence.load import open_scorer
        from nap.dependence.seqdep import measure_sample

        scorer, most = open_scorer(self.scorer), self.max_seqdep

        def keeps(outcome: "Outcome") -> bool:
            texts = [path.text for path in outcome.paths]
            found = measure_sample(scorer, texts, prompt=outcome.problem.prompt, segments="paths")
            return found is None or found.per_token() <= most

        return Last(keeps=keeps, setting=f"seqdep of the paths <= {most} nats a token by {self.scorer}")


def say(line: str) -> None:
    """Tells the user on standard error what a teacher does."""
    print(f"nap: {line}", file=sys.stderr, flush=True)


def summary_of(card: "Card") -> str:
    """The card's counts in a few lines."""

    def counted(counts: Mapping[str, int]) -> str:
        return ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in counts.items() if number)

    rows = card.rows_left_out
    # The problems of a generator may have the same question too, and know no --strict.
    strict = " (--strict refuses them)" if card.setting["data"] or card.setting["solutions"] else ""
    left_out = f"; {rows} rows left out, see left_out.jsonl{strict}" if rows else ""
    used, note = card.accuracy.used, card.usage.note()
    share = "" if used.share is None else f" ({100 * used.share:.1f} %)"
    return (
        f"problems: {counted(card.problems)}{left_out}\nreplies:  {counted(card.replies)}\n"
        f"{used.right} of the {used.of} paths that are used are right{share}" + (f"\n{note}" if note else "")
    )
