"""Final answers: finds the answer in a text, and checks whether it is right.

An answer is found by its marks (marks.py); without marks the last number of the text counts. Text after a chain of
thought (`</think>`) goes before text inside it. Numbers are compared as fractions. LaTeX is compared by math-verify in
a process that can be killed (`mathworker`), after a cheap comparison that settles most pairs.

The text comes from a model: it is never given to `eval`, all its bounds are named, and every search through it takes
linear time. The extraction never sees the right answer.

Does not know tasks, and gives no partial credit.
"""

import atexit
import logging
import os
import re
from collections.abc import Callable
from functools import cache
from itertools import chain

from nap.tasks.marks import MAX_TEXT, boxes, has_box_or_tag, marked_answers, outside_reasoning
from nap.tasks.mathworker import MathWorker
from nap.tasks.numbers import ends_in_several, first_number, is_several, is_sum, last_number, plain_number, to_number

# The longest right answer of MATH-500 has 53 characters; SymPy's parser is exponential in the worst case.
MAX_MATH = 300

logger = logging.getLogger(__name__)

# With the exponent of a unit.
_WORDS = re.compile(r"\\(?:text|mbox|mathrm|textbf)\s?\{([^{}]*)\}(?:\^\{?\d\}?)?")
_EQUALS = re.compile(r"=|≈|\\approx")
# Remarks after a number: `18 (9 * 2)`, `18（9×2）`, `9 * 2 = 18. Check: 18 / 2 = 9`.
_REMARK = re.compile(
    r"(?<=[\s*])\((?:[^()]|\([^()]*\))*\)?|（[^（）]*）?"
    r"|(?:^|[.;,。；，\n])\s*(?i:(?:to )?(?:check|verif\w{1,9})\b|验证|检验|验算).*",
    re.DOTALL,
)
# An answer that starts with its number ends before the next sentence, line, or reason: `18; 18*2 = 36`, `18, which is`.
_STARTS = re.compile(r"\W{0,20}(?:(?i:about|approximately|around|exactly|only|just)\s\W{0,9}|[a-zA-Z]\s?=\W{0,9})?\d")
_GOES_ON = re.compile(
    r"(?<!\\)(?:[.!?](?=\s)|[;；。！\n]|\s[–—]\s|[,，]\s?(?!(?:and|or)\b|[和或])(?=[^\W\d_]{2})"
    r"|\s(?:because|since|as|which|i\.e\.)(?=\s))"
)
# A number and its unit in words: `18 dollars per day`.
MAX_ANSWER_WORDS = 5


def extract_answer(text: str) -> str | None:
    """The most explicitly marked answer of the text, else its last number; None if it has neither.

    An empty box or tag is no answer, whatever the reasoning before it says.
    """
    return _first(text, lambda part: next(marked_answers(part), None))


def extract_number(text: str) -> str | None:
    r"""The number that the text gives as its answer, in its own spelling: `1,234.5`, `-3/4`, `$120`.

    In a marked answer that is the first number after the last equals sign (`\boxed{9 \times 2 = 18 \text{ eggs}}`),
    else the last number of the whole text. A box or a tag without a number is no answer.
    """
    return _first(text, _marked_number)


def _marked_number(part: str) -> str | None:
    last = boxes(part)
    last = [", ".join(last)] if is_several(", ".join(last)) else last[-1:]
    return next(filter(None, map(_number_in, chain(last, marked_answers(part)))), None)


def _first(text: str, marked: Callable[[str], str | None]) -> str | None:
    """The marked answer or the last number, after the reasoning or else in the whole text."""
    for part in outside_reasoning(text[-MAX_TEXT:]):
        if found := marked(part):
            return found
        if has_box_or_tag(part) or ends_in_several(part):
            return None
        if found := last_number(part):
            return found
    return None


def _number_in(answer: str) -> str | None:
    answer = _without_remarks(answer)
    # `x = 3 or x = 5` is `3 or 5`.
    words = re.sub(r"(?<=\bor )[a-zA-Z] ?= ?", "", " ".join(_WORDS.sub(r" \1 ", answer).split()))
    side, said = (_EQUALS.split(text)[-1].strip() for text in (answer, words))
    bare = _WORDS.sub(" ", side)
    if is_several(said):
        return said
    if is_sum(bare):
        return side
    # `\text{Week 2: }460` is 460; if everything is text, as in `\text{460}`, the text counts.
    return first_number(bare) or first_number(side) or first_number(answer)


def _without_remarks(answer: str) -> str:
    """What a mark gives before it goes on: `18` of `18 (9 * 2)` and `18; 18*2 = 36`. A worked answer is kept whole."""
    if not (digit := re.search(r"\d", answer)):
        return answer
    answer = (answer[: digit.end()] + _REMARK.sub(" ", answer[digit.end() :])).strip()
    head = _GOES_ON.split(answer, maxsplit=1)[0]
    whole = not _STARTS.match(plain_number(head)) or is_sum(head) or len(head.split()) > MAX_ANSWER_WORDS
    return answer if whole else head


def math_equal(answer: str | None, gold: str, timeout: float = 5.0) -> bool:
    """Whether a LaTeX answer equals the gold one, by text, as numbers, or else by math-verify.

    An answer without a verdict of math-verify within `timeout` seconds counts as wrong, and is logged. Raises
    InputError if math-verify is needed and not installed.
    """
    if not answer or len(answer) > MAX_MATH:
        return bool(answer) and answer == gold
    if _normal(answer) == _normal(gold):
        return True
    value, expected = to_number(answer), to_number(gold)
    if value is not None and expected is not None:
        return value == expected
    equal = _worker(os.getpid(), timeout).equal(gold, answer)
    if equal is None:
        logger.warning("math-verify gave no verdict on %.60r (gold %.60r): counted as wrong", answer, gold)
    return bool(equal)


@cache
def _worker(process: int, timeout: float) -> MathWorker:
    # One worker for each process, because a fork must not use the pipes of its parent.
    worker = MathWorker(timeout)
    atexit.register(worker.close)
    return worker


def _normal(text: str) -> str:
    r"""LaTeX without what never changes a value: `$`, spaces, `\left`, `\dfrac` for `\frac`, a unit after a number."""
    text = text.replace(r"\$", "").replace("$", "").strip().rstrip(".")
    # A space between two numbers, unless it stands before thousands.
    text = re.sub(r"(?<=\d)\\[;: ](?=\d)(?!\d{3}(?!\d))", " ", text)
    text = re.sub(r"\\(?:left|right|displaystyle)(?![a-zA-Z])|\\[!,;: ]|\^\{?\\circ\}?|\\?%", "", text)
    text = re.sub(r"\\[dt]frac", r"\\frac", text)
    text = re.sub(r"\\frac\s?(\d)\s?(\d)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"(?<=[\d}])\s*\\(?:text|mbox|mathrm)\s?\{[^{}]*\}(?:\^\{?\d\}?)?$", "", text)
    text = re.sub(r"\\(?:text|mbox|mathrm|textbf)\s?\{([^{}]*)\}", r"\1", text)
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)
