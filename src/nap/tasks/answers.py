r"""Final answers: finding them in what a model wrote, and checking them exactly.

An answer is looked for by its marks, the most explicit first: the last `\boxed{42}`, the last `<answer>42</answer>`,
the last `#### 42`, the last `The answer is 42`. A number that has none of them is the last number of the text.
Numbers are compared as fractions, expressions are evaluated from a whitelisted syntax tree, and LaTeX is compared by
math-verify in a process that can be killed (`mathworker`), after a cheap comparison that settles most pairs.

The text is a model's: nothing here is ever given to `eval`, every bound on it is named below, and every search through
it takes linear time. The gold answer is only ever compared with; no extraction sees it.

Does not know tasks, and gives no partial credit.
"""

import ast
import atexit
import logging
import operator
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from functools import cache
from itertools import pairwise

from nap.tasks.mathworker import MathWorker

# An answer stands at the end, and the longest chains of thought (32k tokens) are about this long: more is not read.
MAX_TEXT = 100_000
# No answer of a benchmark has more; Python refuses to convert 4,301 digits, and takes quadratic time before that.
MAX_DIGITS = 50
# No answer is longer that is one number, or stands in a box that was never closed.
MAX_LINE = 1_000
# The longest gold answer of MATH-500 has 53 characters; SymPy's parser is exponential in the worst case.
MAX_MATH = 300
# Six numbers of Countdown with brackets take 40 characters; the length bounds the depth of the syntax tree too.
MAX_EXPRESSION = 200
# CPython's parser gives up on 200 open brackets with a MemoryError in some versions.
MAX_BRACKETS = 30

logger = logging.getLogger(__name__)

# Diffusion models often lose the backslash of \boxed, and the whitespace before the brace.
_BOX_OR_BRACE = re.compile(r"\\[\\{}]|\\?\bboxed\s?\{|[{}]")
_ANSWER_TAG = re.compile(r"<answer>((?:(?!</|<answer).)*)", re.DOTALL | re.IGNORECASE)
_BOX_OR_TAG = re.compile(r"\bboxed\s?\{|<answer>", re.IGNORECASE)
_HASHES = re.compile(r"####[ \t]*([^\n#]+)")
# `Answer: Paris` is an answer; `the answer is the sum of 3 and 4` is not one yet.
_PHRASE = re.compile(r"(?i:\banswer)\**\s?(?:[:=]|is\b:?(?=[\s*]*(?:[^a-zA-Z\s*]|[A-Z]\b)))[\s*]*([^\n]+)")

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
# A minus with a space after it is a subtraction or a bullet, except where the text starts with it.
_NUMBER = re.compile(
    rf"(?P<sign>^-\s?|(?<![\w)\]}}])-)?(?:\$\s?)?(?:"
    rf"(?P<whole>\d+)\s(?P<part>\d+)/(?P<of>\d+)"
    rf"|(?P<top>{_DIGITS})\s?/\s?(?P<bottom>\d+)(?!\d|\.\d)"
    rf"|(?P<decimal>{_DIGITS}(?:\.\d+)?|\.\d+)(?:[eE](?P<exponent>[+-]?\d{{1,3}})(?!\w))?)"
)


def extract_boxed(text: str) -> str | None:
    r"""What the last `\boxed{...}` whose braces balance holds, stripped; None if there is none or all are empty.

    Of nested boxes the inner one counts. Placeholders (`\boxed{...}`) do not. If no box was ever closed, the last one
    ends with its line.
    """
    text = text[-MAX_TEXT:]
    closed: list[tuple[int, int]] = []
    opened: list[int | None] = []
    for found in _BOX_OR_BRACE.finditer(text):
        token = found.group()
        if token == "}":
            start = opened.pop() if opened else None
            closed += [] if start is None else [(start, found.start())]
        elif token.endswith("{") and token != r"\{":
            opened.append(found.end() if "boxed" in token else None)
    boxes = [text[start:end] for start, end in sorted(closed, reverse=True)]
    if not closed:
        starts = [start for start in reversed(opened) if start is not None]
        boxes = [re.split(r"\n|</", text[start : start + MAX_LINE])[0] for start in starts[:1]]
    return next((box.strip() for box in boxes if not _is_placeholder(box)), None)


def marked_answers(text: str) -> Iterator[str]:
    """The answers that the text marks as such, the most explicit mark first."""
    text = text[-MAX_TEXT:]
    if boxed := extract_boxed(text):
        yield boxed
    for mark in (_ANSWER_TAG, _HASHES, _PHRASE):
        answers = [answer.strip() for answer in mark.findall(text) if not _is_placeholder(answer)]
        yield from answers[-1:]


def extract_answer(text: str) -> str | None:
    """The answer that the text marks most explicitly, else its last number; None if it has neither.

    A box or a tag that was left empty is no answer, whatever the reasoning before it says.
    """
    return next(marked_answers(text), None) or _unmarked_number(text[-MAX_TEXT:])


def extract_number(text: str) -> str | None:
    r"""The number that the text gives as its answer, as it is written there: `1,234.5`, `-3/4`, `$120`.

    In a marked answer that is the first number after the last equals sign (`\boxed{9 \times 2 = 18 \text{ eggs}}`),
    else the last number of the whole text. A box or a tag without a number is no answer.
    """
    for answer in marked_answers(text):
        if found := _first_number(re.split(r"=|≈|\\approx", answer)[-1]) or _first_number(answer):
            return found
    return _unmarked_number(text[-MAX_TEXT:])


def to_number(text: str) -> Fraction | None:
    """The exact value of a text that is one number and nothing else; None for any other text."""
    if len(text) > MAX_LINE:
        return None
    found = _NUMBER.fullmatch(_plain(text).strip(" \n\t$").rstrip("%. "))
    return _value(found) if found else None


def same_number(answer: str | None, gold: str | None) -> bool:
    """Whether both are numbers and equal: `1,234.50` is `1234.5` and `3/4` is `0.75`; `50%` is `50`, not `0.5`."""
    if answer is None or gold is None:
        return False
    value = to_number(answer)
    return value is not None and value == to_number(gold)


def _is_placeholder(text: str) -> bool:
    return not re.sub(r"\\?\bboxed\s?\{[.… ]*\}", "", text).strip(".… \n\t")


def _unmarked_number(text: str) -> str | None:
    if _BOX_OR_TAG.search(text):
        return None
    # A whole text that starts with "- 5" starts with a list, not with a negative number.
    return _first_valid(reversed(list(_NUMBER.finditer("\n" + _plain(text)))))


def _first_number(text: str) -> str | None:
    return _first_valid(_NUMBER.finditer(_plain(text)))


def _first_valid(numbers: Iterable[re.Match[str]]) -> str | None:
    return next((found.group().strip() for found in numbers if _value(found) is not None), None)


def _value(found: re.Match[str]) -> Fraction | None:
    """The number that `_NUMBER` found; None if it has too many digits or divides by zero."""
    part = {name: text.replace(",", "") for name, text in found.groupdict().items() if text}
    if len(found.group()) > MAX_DIGITS or not Fraction(part.get("of") or part.get("bottom") or 1):
        return None
    if "decimal" in part:
        value = Fraction(part["decimal"]) * Fraction(10) ** int(part.get("exponent", 0))
    elif "whole" in part:
        value = int(part["whole"]) + Fraction(int(part["part"]), int(part["of"]))
    else:
        value = Fraction(int(part["top"]), int(part["bottom"]))
    return -value if "sign" in part else value


def _plain(text: str) -> str:
    r"""LaTeX around numbers as plain text: `1{,}234` and `\$5` and `\frac{3}{4}` and the typographic minus."""
    text = re.sub(r"\{,\}|,\\[!;]", ",", text.replace("−", "-"))
    text = re.sub(r"(\d?)\s?\\[dt]?frac\s?(?:\{(\d+)\}\s?\{(\d+)\}|(\d)\s?(\d))", _plain_fraction, text)
    return re.sub(r"\\[,;! ()\[\]]|\*\*|\\(?=[$%])", "", text)


def _plain_fraction(found: re.Match[str]) -> str:
    before, *parts = found.groups()
    top, bottom = (part for part in parts if part)
    return f"{before} {top}/{bottom}" if before else f"{top}/{bottom}"


def math_equal(answer: str | None, gold: str, timeout: float = 5.0) -> bool:
    """Whether a LaTeX answer equals the gold one, by text, as numbers, or else by math-verify.

    An answer on which math-verify gives no verdict within `timeout` seconds counts as wrong, and is logged.
    Raises InputError if math-verify is needed and not installed.
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
    # One for each process: a fork must not talk through its parent's pipes.
    worker = MathWorker(timeout)
    atexit.register(worker.close)
    return worker


def _normal(text: str) -> str:
    r"""LaTeX without what never changes a value: `$`, spaces, `\left`, `\dfrac` for `\frac`, a unit after a number."""
    text = text.replace(r"\$", "").replace("$", "").strip().rstrip(".")
    text = re.sub(r"\\(?:left|right|displaystyle)(?![a-zA-Z])|\\[!,;: ]|\^\{?\\circ\}?|\\?%", "", text)
    text = re.sub(r"\\[dt]frac", r"\\frac", text)
    text = re.sub(r"\\frac\s?(\d)\s?(\d)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"(?<=[\d}])\s*\\(?:text|mbox|mathrm)\s?\{[^{}]*\}(?:\^\{?\d\}?)?$", "", text)
    text = re.sub(r"\\(?:text|mbox|mathrm|textbf)\s?\{([^{}]*)\}", r"\1", text)
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)


def countdown_ok(text: str, numbers: Sequence[int], target: int | Fraction) -> bool:
    """Whether the text's final expression uses every number exactly once and is exactly the target."""
    expression = countdown_expression(text)
    if expression is None or sorted(re.findall(r"\d+", expression)) != sorted(map(str, numbers)):
        return False
    return evaluate(expression) == target


def countdown_expression(text: str) -> str | None:
    r"""The expression that the text ends with: `80 - (79 - 47)`; None if it has none.

    Taken from the marked answer, else from the last line that holds one; of `80 - 32 = 48` the side before the equals
    sign. `\times`, `\div`, `\frac`, ×, ÷, `\left(` and brackets of LaTeX mathematics are understood.
    """
    if marked := next(marked_answers(text), None):
        return _expression_in(marked)
    lines = (re.sub(r"^\s*[-*•]\s", "", line) for line in reversed(text[-MAX_TEXT:].splitlines()))
    return next((found for line in lines if (found := _expression_in(line))), None)


def _expression_in(line: str) -> str | None:
    """The first side of the last chain of equations in a line: `30 - 7` of `100 - 93 = 7, so 30 - 7 = 20 + 3 = 23`."""
    chains = re.findall(r"([\d+\-*/() ]+)(?:=[\d+\-*/(). ]*)*", plain_arithmetic(line))
    found = (re.sub(r" +", " ", chain).strip() for chain in reversed(chains))
    return next((chain for chain in found if _is_operation(chain)), None)


def _is_operation(text: str) -> bool:
    return bool(re.search(r"[\d)] ?[-+*/] ?[-\d(]", text)) and evaluate(text) is not None


def equations(text: str) -> list[bool]:
    """Whether each equation in a text holds: [True, False] for `3 * 4 = 12 ; 49 - 1 = 89`.

    A chain `2 + 3 = 5 = 4 + 1` is two equations. What cannot be computed exactly is none: words, decimals, a side that
    is missing, and one that goes on from a word, as in `5 pears + 3 = 8`.
    """
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text[-MAX_TEXT:])
    held = []
    for line in map(plain_arithmetic, text.splitlines()):
        for chain in re.finditer(r"[\d+\-*/(). =]+", line):
            first, *later = chain[0].split("=")
            before = line[chain.start() - 1] if chain.start() else " "
            goes_on = not re.match(r" *[\d(]", first) or (before.isalnum() and first[0] != " ")
            values = [evaluate(side.strip(" .")) for side in ("" if goes_on else first, *later)]
            held += [a == b for a, b in pairwise(values) if a is not None and b is not None]
    return held


def plain_arithmetic(text: str) -> str:
    r"""LaTeX and typography of arithmetic as `+ - * / ( )`; other marks of mathematics go."""
    text = text.replace("−", "-").replace("–", "-")
    text = re.sub(r"\\[dt]?frac\s?\{([^{}]*)\}\s?\{([^{}]*)\}", r"((\1)/(\2))", text)
    text = re.sub(r"\\times(?![a-z])|\\cdot(?![a-z])|×|·|(?<=\d)\s?[xX]\s?(?=\d)", "*", text)
    text = re.sub(r"\\div(?![a-z])|÷", "/", text)
    return re.sub(r"\\(?:left|right)(?![a-z])|\\[,;! ()\[\]]|[$\s]", " ", text)


def evaluate(expression: str) -> Fraction | None:
    """The exact value of whole numbers with + - * / and brackets; None for anything else, or a division by zero."""
    if len(expression) > MAX_EXPRESSION or expression.count("(") > MAX_BRACKETS:
        return None
    if not re.fullmatch(r"[\d+\-*/() ]*", expression) or re.search(rf"\d{{{MAX_DIGITS + 1}}}", expression):
        return None
    try:
        return _evaluate(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ZeroDivisionError):
        return None


_OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def _evaluate(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int(number)):
            return Fraction(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            return _OPERATIONS[type(op)](_evaluate(left), _evaluate(right))
    raise SyntaxError(f"not arithmetic: {ast.dump(node):.60}")
