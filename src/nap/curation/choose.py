"""Chooses the paths of one problem among its replies, and adds their summary. Pure functions.

    outcome = Choose(plan)(Solved(problem, replies))       # in a thread, a process, or a worker of a cluster
    sample = conclude(plan, outcome, summary)

Replies are untrusted: control characters are removed, and what the template of a chat wrote around them; a canvas tag
or a cut text makes a reply unusable, and answers are checked within the bounds of tasks/answers.py. Asks nobody and
writes nothing.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from nap.canvas.canvas import find_tag
from nap.common.files import InputError
from nap.common.templates import fill
from nap.curation.card import COUNTED, Outcome
from nap.curation.journal import FAILED, LENGTH, STOP, Reply
from nap.curation.plan import Plan
from nap.curation.selection import cosines, distinct, mean_overlap, overlaps, select, spread
from nap.curation.solutions import Solved
from nap.data.problems import Problem
from nap.data.samples import Path
from nap.tasks.marks import MAX_TEXT
from nap.tasks.registry import Task, load_task

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# What counts as a token without a tokenizer: byte-pair vocabularies contain most words, but no long numbers.
_PIECE = re.compile(r"[^\W\d_]{1,8}|\S")
# Room for a closing tag in every slot.
CLOSING = "</think 1>"
# Control characters: no tokenizer needs them, and a terminal obeys them. Line breaks and tabs stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# What the templates of chats write before a reply, and after it: what follows that is no part of the reply.
_OPENED = re.compile(
    r"(?:\s*(?:<s>|<bos>|<\|begin_of_text\|>|<｜begin▁of▁sentence｜>|<\|assistant\|>|<｜Assistant｜>"
    r"|(?:<\|im_start\|>|<\|start\|>|<start_of_turn>|<\|start_header_id\|>)(?:assistant|model)(?:<\|end_header_id\|>)?))+"
)
_ENDED = re.compile(
    r"</s>|<eos>|<end_of_turn>|<start_of_turn>|<｜end▁of▁sentence｜>|<｜User｜>|<\|(?:im_end|im_start|endoftext|eot_id|eom_id"
    r"|end_of_text|start_header_id|end|start|return|call|user)\|>"
)
# The channels of gpt-oss; and what is left of a chat where its form is not known.
_CHANNEL = re.compile(
    r"<\|channel\|>(\w+)[^<]*<\|message\|>(.*?)(?=<\|(?:end|return|call|start|channel)\|>|\Z)", re.DOTALL
)
_CHAT = re.compile(r"<\|(?:channel|message|constrain|end_header_id|assistant|system|tool|observation)\|>|\[/?INST\]")


@dataclass(frozen=True)
class Choose:
    """The paths of a sample, if the replies to its problem make one: `Choose(plan)(solved)`."""

    plan: Plan

    def __call__(self, solved: Solved) -> Outcome:
        """The outcome without its summary; its end is `sample` where there are paths."""
        plan, problem = self.plan, solved.problem
        task, usable, fates = load_task(plan.task), list[Path](), Counter[str]()
        for asked, reply in solved.replies:
            thought, said = spoken(reply)
            text = f"{thought}\n\n{said}".strip() if plan.reasoning == "before" else said
            if fate := unusable(reply, text, plan.path_tokens, plan.tokenizer):
                fates[fate] += 1
            else:
                usable.append(_checked(task, problem, text, said, _source(asked, reply)))
        texts = [path.text for path in usable]
        similar = overlaps(texts)
        limits = [(similar, plan.max_overlap)]
        if plan.embedder:
            limits.append((cosines(texts, plan.embedder), plan.max_similarity))
        apart = distinct(len(texts), *limits)
        apart = spread(limits[-1][0], apart) if plan.diverse else apart
        chosen = select([bool(usable[i].correct) for i in apart], plan.paths, plan.select, plan.wrong)
        used = [apart[i] for i in chosen or ()]
        fates.update(duplicate=len(usable) - len(apart), unused=len(apart) - len(used), used=len(used))
        paths = tuple(usable[i] for i in used)
        return Outcome(
            problem=problem,
            end="sample" if chosen else "too_few_paths" if len(apart) < plan.paths else "not_selected",
            fates=fates,
            checked=(sum(bool(path.correct) for path in usable), len(usable)),
            models=Counter(_source(asked, reply) for asked, reply in solved.replies if reply.finish != FAILED),
            usage=usage_of([reply for _, reply in solved.replies]),
            paths=paths,
            tokens=tuple(count_tokens(path.text, plan.tokenizer) for path in paths),
            overlap=mean_overlap(similar, used),
        )


def _checked(task: Task, problem: Problem, text: str, said: str, source: str) -> Path:
    # The answer after the reasoning counts, if there is one: reasoning may contain others that were given up.
    final = said if task.extract(problem, said) else text
    return Path(text=text, answer=task.extract(problem, final), correct=task.check(problem, final), source=source)


def _source(asked: str, reply: Reply) -> str:
    """The model's name from its server, else the name that was asked for."""
    return clean(reply.model) or asked


def usage_of(replies: Sequence[Reply]) -> Counter[str]:
    """The tokens of the replies, and how many replies have tokens that were not counted."""
    return Counter({name: sum(getattr(reply, name) for reply in replies) for name in COUNTED})


def is_blank(reply: Reply) -> bool:
    """Whether the teacher gave neither a text nor reasoning."""
    return not (reply.text or reply.reasoning)


def spoken(reply: Reply) -> tuple[str, str]:
    """(reasoning, text) of a reply, without what the template of its chat wrote around them, and cleaned."""
    thought, said = clean(reply.reasoning), clean(reply.text)
    if channels := _CHANNEL.findall(said):
        analysis = [words.strip() for name, words in channels if name != "final"]
        thought = "\n\n".join(filter(None, [thought, *analysis]))
        said = "".join(words for name, words in channels if name == "final")
    return _inside(thought), _inside(said)


def _inside(text: str) -> str:
    opened = _OPENED.match(text)
    return _ENDED.split(text[opened.end() if opened else 0 :], maxsplit=1)[0].strip()


def clean(text: str) -> str:
    """A reply's text without control characters, broken characters and surrounding white space."""
    return _CONTROL.sub("", text.encode("utf-8", "replace").decode("utf-8")).strip()


def unusable(reply: Reply, text: str, most: int, tokenizer: str | None) -> str | None:
    """Why a reply does not fit a slot of `most` tokens (one of card.FATES); None if it fits."""
    if reply.finish != STOP or len(reply.text) > MAX_TEXT:
        return reply.finish if reply.finish not in (STOP, LENGTH) else "cut"
    if not text:
        return "empty"
    if count_tokens(text, tokenizer) > most:
        return "too_long"
    if _CHAT.search(text):
        return "tagged"
    # The search for tags takes quadratic time in white space.
    return "tagged" if "<" in text and find_tag(re.sub(r"\s+", " ", text)) else None


def conclude(plan: Plan, outcome: Outcome, reply: Reply) -> Outcome:
    """The outcome with its summary, or with why there is none."""
    _, text = spoken(reply)
    fate = unusable(reply, text, plan.summary_tokens, plan.tokenizer)
    if fate in ("too_long", "failed", "refused"):
        return outcome.dropped(f"summary_{fate}")
    if fate:
        return outcome.dropped("no_summary")
    if not load_task(plan.task).check(outcome.problem, text):
        return outcome.dropped("summary_wrong")
    return replace(outcome, summary=text)


def summary_prompt(template: str, outcome: Outcome) -> str:
    """The template filled in with the problem, its answer and the paths."""
    paths = "\n\n".join(f"Attempt {number}:\n{path.text}" for number, path in enumerate(outcome.paths, 1))
    return fill(template, problem=outcome.problem.prompt, answer=outcome.problem.answer, paths=paths)


def count_tokens(text: str, tokenizer: str | None) -> int:
    """Tokens of a text and a closing tag, by that tokenizer, or estimated for None."""
    return _count(text, tokenizer) + _closing(tokenizer)


@cache
def _closing(tokenizer: str | None) -> int:
    return _count(CLOSING, tokenizer)


def _count(text: str, tokenizer: str | None) -> int:
    if tokenizer is None:
        return len(_PIECE.findall(text))
    return len(_tokenizer(tokenizer).encode(text, add_special_tokens=False).ids)


@cache
def _tokenizer(name: str) -> "Tokenizer":
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(tokenizer_file(name)))


def tokenizer_file(name: str) -> FilePath:
    """The tokenizer.json that is meant. Raises InputError if there is none."""
    path = FilePath(name) / "tokenizer.json" if FilePath(name).is_dir() else FilePath(name)
    if not path.is_file():
        raise InputError(f"no tokenizer at {path}; give a tokenizer.json, or a folder that holds one")
    return path
