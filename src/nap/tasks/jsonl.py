"""Any file of questions and answers as a task; docs/answers.md says how each kind of answer is compared.

    {"prompt": "What is 6 times 7?", "answer": 42, "id": "a1"}        # `id` may be left out

A number is compared as a number, a letter of a multiple choice as a letter, anything else as text without case, outer
punctuation, LaTeX's \\text and repeated spaces. For answers in LaTeX load the file with the task `math500` instead.

Does not know paraphrases: an answer in other words counts as wrong.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nap.common.files import InputError
from nap.common.rows import read_rows
from nap.data.problems import Problem
from nap.tasks.answers import extract_number
from nap.tasks.marks import MAX_LINE, MAX_TEXT, marked_answers, outside_reasoning, own_answer, until
from nap.tasks.numbers import same_number, same_value, to_number
from nap.tasks.public import OfFiles, Problems, problems

# The letter of a choice as the right answer, and at the start of a model's answer: `(B)`, `B. Paris`, `B because`.
_CHOICE = re.compile(r"[(（\[]{0,2}([A-J])[)）\]]{0,2}[.。]?|[(（\[]{1,2}([a-j])[)）\]]{1,2}[.。]?")
# A right answer with the words of its choice: `B. Paris`. What is no choice may read so too: `E. coli`.
_LABELLED = re.compile(r"[(（\[]{0,2}([A-J])[)）\].:：、]{1,3}\s?(?=[^\W_])")
# What follows a letter and is not the words of its choice.
_REASON = re.compile(r"[\s,，]*(?:(?:because|since|as|which|is|and|for|with)\b|$)")
# A letter that is one of several is no choice: `A and B`, `A, B, C`. `A, I think` and `A, B is wrong` name one.
_SECOND = r"(?:[B-HJ]\b(?!\s+(?:is|was)\b)|[AI](?=[\s)）\]]*(?:[,.;]|and\b|or\b|$)))"
_ANOTHER = rf"[)）\]]{{0,2}}\s?(?:[,，、/&+]|and\b|or\b)\s?[(（\[]{{0,2}}{_SECOND}"
_CHOSEN = re.compile(
    rf"[(（\[]{{0,2}}(?:([A-J])(?!{_ANOTHER})"
    r"(?:[)）\]]{1,2}|です|입니다|(?:选项|[项項])|[.:,;](?=\s|$)|[：；，、]|\s[(（]|\s?[-–—=]\s?(?=[^\W\d_]{2})|(?=[\s。]*$)"
    r"|(?=\s+(?:because|since|as|which|is|and|for|with)\b))"
    rf"|([a-j])(?!(?i:{_ANOTHER}))(?:[)）\]]{{1,2}}|[.。]?$))"
)
_WRAPPED = re.compile(
    r"\\(?:text|textbf|mathrm|mathbf|mbox)\s?\{([^{}]*)\}|[\"'“‘「]([A-J])[\"'”’」]|\*\*|\\[()]|\\bf(?![a-z])|[$`]"
)
_WIDE = str.maketrans("ＡＢＣＤＥＦＧＨＩＪ．", "ABCDEFGHIJ.")
_LEAD = re.compile(
    r"(?:(?:therefore|thus|hence|so|finally|in conclusion)\b[,:]?\s*)?"
    r"(?:i(?:['’]d|['’]ll| would| will)? (?:choose|pick|select|go with|say)\s+)?(?:(?:option|choice)\b\s*)?",
    re.IGNORECASE,
)
# A first line that is the answer, with an explanation below it: `C`, `C. Paris`, `Yes.`, `No, it is not.`
_OPENS = re.compile(r"[(（\[]?[A-J](?:[)）\]]?[.:]?$|[)）\].:：]{1,2}\s?\S)|(?i:yes|no|true|false)(?:[.,!]|$)")
# Characters around an answer in words that do not change it.
_AROUND = re.compile(r"^(?:the|an?)\s+(?=\w)|(?:です|である|だ)$", re.IGNORECASE)
# `The statement is true.`
_IS_TRUE = re.compile(r"\b(?:is|are)\s+(true|false)[.!]?$", re.IGNORECASE)
_YES_NO = ("yes", "no", "true", "false")


@dataclass(frozen=True, kw_only=True)
class Jsonl(OfFiles):
    """Your own problems, from a file that is given to `load`."""

    name: str = "jsonl"

    def load(self, split: str = "test", limit: int | None = None, path: str | None = None) -> Problems:
        """The first `limit` problems of the file (all by default). A bad line is named by its number."""
        if path is None:
            raise InputError("task 'jsonl' reads a file of your own; name it with --data FILE")
        return problems(self, read_rows(path), limit, self.fields, self.strict)

    def extract(self, problem: Problem, text: str) -> str | None:
        """The number, letter or words that the text gives, depending on the kind of the problem's answer."""
        text, gold = until(text, self.stop), _gold(problem)
        if to_number(gold) is not None:
            return extract_number(text)
        of_few = bool(_CHOICE.fullmatch(gold) or _LABELLED.match(gold) or _plain(gold) in _YES_NO)
        found = [answer for part in outside_reasoning(text[-MAX_TEXT:]) for answer in _answers(part, of_few)]
        letters = [(_letter(chosen), answer) for answer in found if (chosen := _CHOSEN.match(answer))]
        if _CHOICE.fullmatch(gold):
            return next((letter for letter, _ in letters), None)
        if _plain(gold) in _YES_NO:
            return next((word for answer in found if (word := _yes_or_no(answer)) in _YES_NO), None)
        labelled = [answer for _, answer in letters] if _LABELLED.match(gold) else []
        return next(iter([*labelled, *found]), None)

    def same(self, one: str, other: str) -> bool:
        """Whether two answers are the same number or, without case, outer punctuation and a choice's letter before
        them, the same words."""
        return same_value(one, other) or not _forms(one).isdisjoint(_forms(other))

    def check(self, problem: Problem, text: str) -> bool:
        """Whether the text's answer equals the problem's."""
        answer, gold = self.extract(problem, text), _gold(problem)
        if answer is None or same_number(answer, gold):
            return answer is not None
        if letter := _CHOICE.fullmatch(gold):
            return answer == _letter(letter)
        return _same_choice(answer, labelled) if (labelled := _LABELLED.match(gold)) else _plain(gold) in _forms(answer)


def _gold(problem: Problem) -> str:
    gold = _unwrapped(own_answer(problem.answer))
    return _LEAD.sub("", gold, count=1).strip() or gold


def _answers(text: str, of_few: bool) -> Iterator[str]:
    """The marked answers, the most explicit mark first, and then the last line; of what is one of a few,
    perhaps the first line before it."""
    for answer in (*marked_answers(text), *_unmarked(text, of_few)):
        yield _LEAD.sub("", _unwrapped(answer), count=1).strip()


def _unmarked(text: str, of_few: bool) -> Sequence[str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last, opens = [line[-MAX_LINE:] for line in lines[-1:]], [line for line in lines if _OPENS.match(_unwrapped(line))]
    # Not where the first line is one of a list of choices, or the last one nothing but another answer.
    first = of_few and len(opens) == 1 and opens[0] is lines[0]
    return [lines[0][:MAX_LINE], *last] if first else last


def _unwrapped(text: str) -> str:
    return _WRAPPED.sub(lambda found: found[1] or found[2] or "", text.translate(_WIDE)).strip()


def _yes_or_no(text: str) -> str:
    """The first word, or the last of `The statement is true.`"""
    said = _IS_TRUE.search(text.strip())
    return said[1].lower() if said else _plain(re.split(r"[\s,.;:!]", text.strip(), maxsplit=1)[0])


def _forms(answer: str) -> set[str]:
    """The answer in plain words: as it is and, as `B) Paris` is Paris, without the letter of a choice before it."""
    chosen = _CHOSEN.match(answer)
    words = _plain(answer[chosen.end() :]) if chosen else ""
    return {_plain(answer), *([words] if words else [])}


def _letter(found: re.Match[str]) -> str:
    return next(filter(None, found.groups())).upper()


def _same_choice(answer: str, gold: re.Match[str]) -> bool:
    """Whether an answer has the letter or the words of `B. Paris`, and nothing that contradicts the other."""
    expected, letter = _plain(gold.string[gold.end() :]), _LABELLED.match(answer) or _CHOSEN.match(answer)
    if not letter:
        return _plain(answer) == expected
    rest = answer[letter.end() :]
    words = "" if _REASON.match(rest) else _plain(rest)
    return (
        _letter(letter) == gold[1] and re.match(rf"{re.escape(expected)}(?!\w|,? or\b)", words or expected) is not None
    )


def _plain(text: str) -> str:
    words = re.sub(r"\s+", " ", _unwrapped(text)).strip(" .!?\"'“”。")
    return re.sub(r"\s?=\s?", "=", _AROUND.sub("", words)).strip().casefold()
