"""Exact arithmetic in model output: expressions of Countdown, and whether equations hold.

An expression is parsed into a syntax tree of a few allowed nodes and never given to `eval`; every bound is named below.

Does not know the problem.
"""

import ast
import operator
import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from nap.tasks.marks import MAX_TEXT, marked_answers
from nap.tasks.numbers import MAX_DIGITS

# Six numbers of Countdown with brackets take 40 characters; this bound also limits the depth of the syntax tree.
MAX_EXPRESSION = 200
# CPython's parser gives up on 200 open brackets with a MemoryError in some versions.
MAX_BRACKETS = 30


def countdown_ok(text: str, numbers: Sequence[int], target: int | Fraction) -> bool:
    """Whether the final expression of the text uses every number exactly once and equals the target."""
    expression = countdown_expression(text)
    if expression is None or sorted(re.findall(r"\d+", expression)) != sorted(map(str, numbers)):
        return False
    return evaluate(expression) == target


def countdown_expression(text: str) -> str | None:
    r"""The expression that the text ends with: `80 - (79 - 47)`; None if it has none.

    It is taken from the marked answer, else from the last line with an expression; of `80 - 32 = 48` the left side
    counts. `\times`, `\div`, `\frac`, ×, ÷, `\left(` and brackets of LaTeX are understood.
    """
    if marked := next(marked_answers(text), None):
        return _expression_in(marked)
    lines = (re.sub(r"^\s*[-*•]\s", "", line) for line in reversed(text[-MAX_TEXT:].splitlines()))
    return next((found for line in lines if (found := _expression_in(line))), None)


def _expression_in(line: str) -> str | None:
    """The first side of the last chain of equations in a line: `30 - 7` of `100 - 93 = 7, so 30 - 7 = 20 + 3 = 23`.

    Before it a result may stand: `23 = 30 - 7`.
    """
    line = re.sub(r"\[(?=[-\d(\[ ])", "(", re.sub(r"(?<=[\d)\] ])\]", ")", plain_arithmetic(line)))
    chains = re.findall(r"(?:(?<![\d+\-*/() =])\s*\d+\s*=)?([\d+\-*/() ]+)(?:=[\d+\-*/(). ]*)*", line)
    found = (re.sub(r" +", " ", chain).strip() for chain in reversed(chains))
    return next((chain for chain in found if _is_operation(chain)), None)


def _is_operation(text: str) -> bool:
    return bool(re.search(r"[\d)] ?[-+*/] ?[-\d(]", text)) and evaluate(text) is not None


def equations(text: str) -> list[bool]:
    """Whether each equation in a text holds: [True, False] for `3 * 4 = 12 ; 49 - 1 = 89`.

    A chain `2 + 3 = 5 = 4 + 1` counts as two equations. Text that cannot be computed exactly does not count: words,
    decimals, a missing side, and a side that continues a word, as in `5 pears + 3 = 8`.
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
    r"""Converts LaTeX and typographic arithmetic to `+ - * / ( )`, and drops other marks of mathematics."""
    text = text.replace("−", "-").replace("–", "-")
    # Bold type, and no power.
    text = re.sub(r"\*\*(?!\s?[-\d(])|(?<![\d)])(?<![\d)]\s)\*\*", " ", text)
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
