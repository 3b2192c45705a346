"""Reads the choices of a question, and which of them an answer names: by its label, by its number, or with its text.

    choices_of(row), label_of(gold, choices_of(row)), lines_of(row, gold, question)

Choices are a list of texts, an object of labels and texts, a list of objects with both, or columns (A, B, ... or
option_a, option_b, ...); the first three also as JSON in a text, as CSV has them.

Does not know where the right answer is (fields.py).
"""

import re
from collections.abc import Iterable, Mapping

from nap.common.files import InputError
from nap.tasks.said import Row, first_of, written

CHOICES = ("choices", "options")
LETTERS = "ABCDEFGHIJ"
# A choice as an object; and choices as columns.
_LABEL, _LABELLED = ("key", "label", "letter", "id"), ("value", "text", "content")
_COLUMN = re.compile(r"([A-J])|(?:option|choice|op|opt)[_ ]?([A-Ja-j]|[1-9])")
# An answer that names a choice: `(B)`, `b`, `B. Paris`.
_NAMED = re.compile(r"[(（\[]?([A-Ja-j])[)）\]]?[.:]?(?:(?<=[.:)）\]])\s+(.*))?", re.DOTALL)


def choices_of(row: Row) -> dict[str, str]:
    """The texts of a question's choices by their labels, which are letters where the row names none; {} for none."""
    found = first_of(row, CHOICES)
    found = (written(found) or found) if isinstance(found, str) else found
    if found is None:
        return _columns(row)
    if isinstance(found, dict) and isinstance(labels := found.get("label"), list):
        texts = found.get("text")
        return _labelled(zip(labels, texts, strict=False)) if isinstance(texts, list) else {}
    if isinstance(found, dict):
        # Settings (`options`) have longer names.
        return _labelled(found.items()) if all(len(label.strip(" ().:")) == 1 for label in found) else {}
    if not isinstance(found, list) or len(found) > len(LETTERS):
        return {}
    objects = [one for one in found if isinstance(one, dict)]
    if objects and len(objects) == len(found):
        return _labelled((first_of(one, _LABEL), first_of(one, _LABELLED)) for one in objects)
    return _labelled(zip(LETTERS, found, strict=False))


def _columns(row: Row) -> dict[str, str]:
    marks = ((_COLUMN.fullmatch(name), text) for name, text in row.items() if text not in (None, ""))
    found = _labelled(sorted(((mark[1] or mark[2]).upper(), text) for mark, text in marks if mark))
    known = "".join(found)
    return found if known and known in (LETTERS[: len(known)], "123456789"[: len(known)]) else {}


def _labelled(pairs: Iterable[tuple[object, object]]) -> dict[str, str]:
    """The choices; {} where a label or a text is none, or there are fewer than two."""
    found, given = dict[str, str](), [*pairs]
    while given and given[-1][1] is None:
        given.pop()  # Parquet has the labels of all rows in each
    for label, text in given:
        if not isinstance(label, str) or not isinstance(text, str | int | float) or isinstance(text, bool):
            return {}
        bare = label.strip(" ().:")
        found[bare.upper() if len(bare) == 1 else bare] = str(text)
    return found if len(found) > 1 else {}


def label_of(gold: object, choices: Mapping[str, str]) -> object:
    """The label of the right choice if that, or its number from 0, is given as in MMLU; any other answer unchanged.

    Raises InputError where the answer may be another choice as well.
    """
    gold = gold[0] if isinstance(gold, list) and len(gold) == 1 and choices else gold
    number, labels = number_of(gold), [*choices]
    said = gold.strip() if isinstance(gold, str) else ""
    named = _NAMED.fullmatch(said)
    if said in choices:
        label, how = said, "by its label"
    elif number is not None and number < len(labels):
        label, how = labels[number], "counted from 0"
    elif named and (label := named[1].upper()) in choices and choices[label] in (said, named[2] or choices[label]):
        how = "by its letter"
    else:
        return gold
    reading = said if number is None else str(number)
    other = any(key != label and reading in (key, text) for key, text in choices.items())
    if other and choices[label] != reading:
        raise InputError(
            f"the answer {reading} may be choice {label} ({choices[label]!r:.40}), {how}, or the choice "
            f"{reading!r}; write its letter"
        )
    return label


def number_of(gold: object) -> int | None:
    """The number from 0 that an answer may be: 2, 2.0 or "2"."""
    if isinstance(gold, str):
        return int(gold.strip()[0]) if re.fullmatch(r"\s*\d(?:\.0)?\s*", gold) else None
    if isinstance(gold, bool) or not isinstance(gold, int | float) or gold not in range(len(LETTERS)):
        return None
    return int(gold)


def lines_of(row: Row, gold: object, question: str) -> list[str]:
    """A line for each choice, with its label; none where the answer is no label, or the question has them already.

    Raises InputError where the answer is the letter of choices that cannot be read.
    """
    choices, there = choices_of(row), first_of(row, CHOICES)
    if not choices and isinstance(there, str) and there.lstrip()[:1] not in ("[", "{"):
        return [there.strip()] if _is_marked(there) and there.strip() not in question else []
    if not choices and there and not is_reply(there) and isinstance(gold, str) and gold.strip() in {*LETTERS}:
        raise _unread(gold, there)
    pairs = [(re.escape(label), label, text) for label, text in choices.items()]
    lines = [text if re.match(rf"\(?{mark}\s?[).:]", text) else f"{label}. {text}" for mark, label, text in pairs]
    known = all(re.search(rf"{mark}\W+{re.escape(text)}", question) for mark, _, text in pairs)
    return [] if known or (gold is not None and str(gold).strip() not in choices) else lines


def check_numbered(row: Row, gold: object) -> None:
    """Raise InputError for an answer that may be the number of a choice where the choices cannot be read."""
    there = first_of(row, CHOICES)
    several = _is_marked(there) if isinstance(there, str) else isinstance(there, list) and len(there) > 1
    if several and number_of(gold) is not None and not choices_of(row) and not is_reply(there):
        raise _unread(gold, there)


def _is_marked(choices: str) -> bool:
    """Whether a text has choices with their letters: `A) Rome, B) Oslo`."""
    return all(re.search(rf"\b{letter}\s?[).:]", choices, re.IGNORECASE) for letter in "AB")


def _unread(gold: object, choices: object) -> InputError:
    return InputError(f"the answer is {gold!r}, and its choices cannot be read ({choices!r:.60}); list 2 to 10 texts")


def is_reply(choices: object) -> bool:
    """Whether these fields are of a server's reply, and not of a question."""
    return isinstance(choices, list) and any(
        isinstance(one, dict) and ("message" in one or "finish_reason" in one) for one in choices
    )
