"""Numbers as people and models write them, exactly: `1,234.5`, `3½`, `-3/4`, `2 x 10^3`, `1,00,000`, `１８`.

Numbers are compared as fractions. Every search takes linear time, and all bounds are named below.

Does not know which number of a text is its answer; answers.py does.
"""

import re
import unicodedata
from collections.abc import Iterable
from fractions import Fraction

# No answer of a benchmark has more digits. Python refuses to convert 4,301 digits, and takes quadratic time before
# that.
MAX_DIGITS = 50
# The most characters of an answer that is one number.
MAX_NUMBER = 1_000
# How far before the last number the words are looked for that make it one of several.
MAX_BEFORE = 60

# Thousands by three digits, or as in India by two: 1,00,000.
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,2}(?:,\d{2})+,\d{3}(?!\d)|\d+)"
# Number words after a number: 1.5 million, 42万.
SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12, "lakh": 5, "crore": 7}
SIGNS = {"万": 4, "萬": 4, "亿": 8, "億": 8, "만": 4, "억": 8}
_MONEY = "$€£¥₹￥"
# Chinese, Japanese and Korean write no space before a number, so a minus after one of their letters is a sign, unless
# the letter is the unit of another number: 7元-5元.
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
# A minus with a space after it is a subtraction or a bullet, except where the text starts with it.
_NUMBER = re.compile(
    rf"(?P<sign>^-\s?|(?<![)\]}}])(?<![^\W{_CJK}])(?<!\d[{_CJK}])-)?(?:[{_MONEY}]\s?)?(?:"
    rf"(?P<whole>\d+)\s(?P<part>\d+)/(?P<of>\d+)"
    rf"|(?P<top>{_DIGITS})\s?/\s?(?P<bottom>\d+)(?!\d|\.\d)"
    rf"|(?P<decimal>{_DIGITS}(?:\.\d+)?|(?<![a-zA-Z])\.\d+)(?:[eE](?P<exponent>[+-]?\d{{1,3}})(?!\w))?"
    rf"(?P<scale>\s?(?:(?i:{'|'.join(SCALES)})\b|[{''.join(SIGNS)}]))?)"
)
_TWO = rf"(?:[{_MONEY}]\s?)?{_DIGITS}(?:\.\d+)?"
_ONE = rf"(?<![a-zA-Z\d.,/]){_TWO}"
# Several numbers and not one: 10-15, 10 to 15, between 10 and 15, 3:1, ±3. A time, 3:00, is its hour.
_SEVERAL = re.compile(
    rf"(?<![-+*/×])(?<![-+*/×]\s)(?P<low>{_ONE})%?(?P<by>\s?(?:-|~|～|to\b|至|到)\s?)(?P<high>{_TWO})(?!\d|\s?[-+*/×])"
    rf"|\bbetween {_ONE}%? and {_TWO}|{_ONE}(?::(?!\d\d(?!\d))| : ){_TWO}|±|\\pm(?![a-zA-Z])"
)
# Two of them that differ: 3 or 5, x = 3 or x = 5. `0.5 or 50%` is one.
_OR = re.compile(rf"({_ONE}),?(?: or |\s?或\s?)(?:[a-zA-Z] ?= ?)?({_TWO})(?![\d%/])")
# All of an answer is a list: 18, 20 and 3.
_LIST = re.compile(
    rf"[\s$({{\[]*{_ONE}(?:(?:\s?(?:[;、&]|,(?!\d{{3}}(?!\d)))|,?\s?(?:\band\b|和))\s?{_TWO}){{1,99}}[\s$)}}\].]*"
)
# What rises from 10 to 15 is 15.
_MOVES = re.compile(r"\b(?:add|increas|ris|rose|rais|gr[eo]w|chang|go|went|mov|improv|climb|jump|compar)[a-z]*\b")
# Spaces between thousands, as in SI. An ordinary space may separate two numbers, except before 000.
_SPACED = re.compile(r"(?<=\d)(?:[\u00a0\u2009\u202f]|\\ |~)(?=\d{3}(?!\d))|(?<=\d) (?=000(?!\d))")
# Thousands of Switzerland, of Python and, from a million on, with spaces; with points only where a comma or a second
# point shows that they are no decimals.
_GROUPED = re.compile(
    r"(?<=\d)['’_](?=\d{3}(?!\d))|(?<![\d.,])\d{1,2}(?: \d{3}){2,9}(?![.,]?\d)"
    r"|(?<![\d.,])\d{1,3}(?:\.\d{3}){1,9}(?:,\d{1,2}(?!\d)|(?<=\d{3}\.\d{3})(?![.,]?\d))"
)
# `$1.5M`, `15k`; `5k` and `300K` may be other things.
_SHORT = re.compile(rf"((?:[{_MONEY}]\s?){_DIGITS}(?:\.\d+)?|\d\.\d{{1,9}}|\d\d(?=k))([kKMB])(?![\w^])")
_SHORT_SCALES = {"k": "thousand", "m": "million", "b": "billion"}
# `24 minus 5` is a difference.
_MINUS = re.compile(
    rf"(?:\bnegative\s|负|(?:(?<=\bis )|(?<=[=:] )|^)minus\s)(?=[{_MONEY}]?\d)", re.IGNORECASE | re.MULTILINE
)
_FRACTION = re.compile(r"(-?)(\d?)\s?\\[dt]?frac\s?(?:\{(-?\s?\d+(?:\.\d+)?)\}\s?\{(-?\s?\d+(?:\.\d+)?)\}|(\d)\s?(\d))")
# A number and an operator with another number, or the root of one.
_SUM = re.compile(
    r"(?:\d|[)}\]])\s?(?:\+|[*×·÷]|[xX](?=\s?\d)|\\(?:times|cdot|div)(?![a-zA-Z])|\^(?!\{?\\circ))\s?[-{(\\]?\s?\d|\\sqrt(?![a-zA-Z])|√"
)
_VULGAR = re.compile(r"(\d?)\s?([¼-¾⅐-⅞])")
_POWER = re.compile(r"(?<=\d)\s?(?:[xX×*·]|\\times|\\cdot)\s?10\s?(?:\^\s?\{?([+-]?\d{1,3})\}?|([⁻⁺]?[⁰¹²³⁴-⁹]{1,3}))")
_SCALE_WORD = re.compile(rf"\s?(?:\b(?i:{'|'.join(SCALES)})\b|(?<=\d)[{''.join(SIGNS)}])")
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
# Minus signs and commas of typography and of Chinese keyboards.
_TYPED = str.maketrans({"−": "-", "–": "-", "－": "-", "﹣": "-", "．": "."})


def to_number(text: str) -> Fraction | None:
    """The exact value of a text that consists of one number; None for any other text."""
    if len(text) > MAX_NUMBER:
        return None
    found = _NUMBER.fullmatch(plain_number(text).strip(f" \n\t{_MONEY}").rstrip("%. "))
    return _value(found) if found else None


def same_value(one: str, other: str) -> bool:
    """Whether both are numbers and equal: `1,234.50` is `1234.5` and `3/4` is `0.75`; `50%` is `50`, not `0.5`."""
    value = to_number(one)
    return value is not None and value == to_number(other)


def same_number(answer: str | None, gold: str | None) -> bool:
    """Whether an answer is the number that is right: equal, or short of the millions that the question asks for."""
    if answer is None or gold is None:
        return False
    value, expected = to_number(answer), to_number(gold)
    if value is None or expected is None:
        return False
    # If a question asks how many millions, 3 million is right where 3 is; among answers they are two.
    return expected in (value, to_number(_SCALE_WORD.sub("", answer)))


def is_several(text: str) -> bool:
    """Whether the text gives several numbers and not one: `10-15`, `between 10 and 15`, `3 or 5`, `18, 20`, `3:1`."""
    text = plain_number(text)
    differ = any(not same_value(found[1], found[2]) for found in _OR.finditer(text))
    return differ or bool(_SEVERAL.search(text) or (_LIST.fullmatch(text) and to_number(text) is None))


def ends_in_several(text: str) -> bool:
    """Whether the last number is one of several: `It takes 10-15 minutes.` A difference (`24 - 12`) is not."""
    if not (last := _last(text)):
        return False
    text, start = last.string, max(0, last.start() - MAX_BEFORE)
    for found in (*_SEVERAL.finditer(text, start), *_OR.finditer(text, start)):
        if found.start() < last.start() <= found.end() <= last.end():
            return found.re is _OR or not found["by"] or _is_range(found, text[start : found.start()])
    return False


def _is_range(found: re.Match[str], before: str) -> bool:
    low, high = to_number(found["low"]), to_number(found["high"])
    rising = low is not None and high is not None and low < high
    return rising and found["by"] != " - " and not _MOVES.search(before)


def is_sum(text: str) -> bool:
    """Whether the text is something still to be computed and not a number: `3 + 4`, `2 × 6`, `\\sqrt{16}`, `2^{10}`."""
    return bool(_SUM.search(plain_number(text)))


def first_number(text: str) -> str | None:
    """The first number of a text, in its own spelling."""
    first = _first_valid(_NUMBER.finditer(plain_number(text)))
    return first and first.group().strip()


def last_number(text: str) -> str | None:
    """The last number of a text, in its own spelling."""
    last = _last(text)
    return last and last.group().strip()


def _last(text: str) -> re.Match[str] | None:
    # A whole text that starts with "- 5" starts with a list, not with a negative number.
    return _first_valid(reversed(list(_NUMBER.finditer("\n" + plain_number(text)))))


def _first_valid(numbers: Iterable[re.Match[str]]) -> re.Match[str] | None:
    return next((found for found in numbers if _value(found) is not None), None)


def _value(found: re.Match[str]) -> Fraction | None:
    """The value of a match of `_NUMBER`; None if it has too many digits or divides by zero."""
    part = {name: text.replace(",", "") for name, text in found.groupdict().items() if text}
    if len(found.group()) > MAX_DIGITS or not Fraction(part.get("of") or part.get("bottom") or 1):
        return None
    if "decimal" in part:
        scale = part.get("scale", "").strip().lower()
        power = int(part.get("exponent", 0)) + (SCALES | SIGNS).get(scale, 0)
        value = Fraction(part["decimal"]) * Fraction(10) ** power
    elif "whole" in part:
        value = int(part["whole"]) + Fraction(int(part["part"]), int(part["of"]))
    else:
        value = Fraction(int(part["top"]), int(part["bottom"]))
    return -value if "sign" in part else value


def plain_number(text: str) -> str:
    r"""LaTeX around numbers as plain text: `1{,}234` and `\$5` and `\frac{3}{4}` and the typographic minus."""
    text = re.sub(r"\{,\}|,\\[!;]|(?<=\d)，(?=\d{3}(?!\d))", ",", text.translate(_TYPED))
    text = _VULGAR.sub(_vulgar, _SPACED.sub("", text))
    text = _GROUPED.sub(lambda found: re.sub(r"['’_ .]", "", found[0]).replace(",", "."), text)
    text = _MINUS.sub("-", _SHORT.sub(lambda found: f"{found[1]} {_SHORT_SCALES[found[2].lower()]}", text))
    text = _POWER.sub(lambda found: f"e{(found[1] or found[2]).translate(_RAISED)}", text)
    text = _FRACTION.sub(_plain_fraction, text)
    text = re.sub(r"(?<=\d)\\[; ](?=\d)", " ", text)
    return re.sub(r"\\[,;! ()\[\]]|\*\*|\\(?=[$%])", "", text)


def _plain_fraction(found: re.Match[str]) -> str:
    minus, before, *parts = found.groups()
    top, bottom = (part.replace(" ", "") for part in parts if part)
    if top.isdigit() and bottom.isdigit():
        return f"{minus}{before} {top}/{bottom}" if before else f"{minus}{top}/{bottom}"
    if before or max(len(top), len(bottom)) > MAX_DIGITS or not Fraction(bottom):
        return found[0]
    value = Fraction(top) / Fraction(bottom) * (-1 if minus else 1)
    return f"{value.numerator}/{value.denominator}"


def _vulgar(found: re.Match[str]) -> str:
    return f"{found[1]} {unicodedata.normalize('NFKC', found[2]).replace('⁄', '/')}".lstrip()
