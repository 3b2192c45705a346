"""Finds where a text gives its answer (boxes, tags, `#### 42`, `The answer is 42`, 答案是 42) and ends its reasoning.

    next(marked_answers(text), None)        # the most explicitly marked answer
    until(text, ("\nQuestion:",))           # what comes before a next question that a base model invents

Every search takes linear time, and no more than MAX_TEXT characters are ever read.

Does not know what an answer means.
"""

import re
from collections.abc import Iterator, Sequence

# Answers are at the end, and the longest chains of thought (32k tokens) have about this many characters; no more are
# read.
MAX_TEXT = 100_000
# The longest answer in a box that was never closed.
MAX_LINE = 1_000

# What a base model continues with after its answer in the few-shot prompts of GSM8K and MATH (lm-evaluation-harness:
# gsm8k, gsm8k_cot, minerva_math), and end-of-text marks that a decoder left in the text. LLaDA's published outputs
# continue after <|eot_id|>, and its evaluation reads that part too. A user's turn in a chat ends an answer likewise.
STOPS = (
    "\nQuestion:", "\nQ:", "\nProblem:", "\nHuman:", "\nUser:", "<|user|>", "<|im_start|>user", "</s>", "<|im_end|>",
    "<|endoftext|>",
)  # fmt: skip

# Diffusion models often lose the backslash of \boxed, and the whitespace before the brace.
_BOX = r"\\?\b(?:boxed|fbox)\s?\{"
_BOX_OR_BRACE = re.compile(rf"\\[\\{{}}]|{_BOX}|[{{}}]")
# Without braces TeX boxes one token, but people mean the whole number.
_BARE_BOX = re.compile(
    r"\\(?:boxed|fbox)[ \t]*(?!\{)(-?[\d.]+(?:[,/]\d+)*|\\[a-z]{1,10}(?:\{[^{}\n]{0,99}\}){1,2}|[A-Z]\b)"
)
# Boxes separated only by this are the parts of one answer: `\boxed{1}, \boxed{2} and \boxed{3}`.
_BETWEEN = re.compile(
    r"(?:[\s$,;、，]|\\[,; ()\[\]]|\band\b|\bor\b|和|与|或|\\text\{\s*(?:and|or)\s*\}|[a-z]_?\d?\s?=){1,40}"
)
_ANSWER_TAG = re.compile(r"<answer>((?:(?!</|<answer).)*)", re.DOTALL | re.IGNORECASE)
_BOX_OR_TAG = re.compile(r"\b(?:boxed|fbox)\s?\{|<answer>", re.IGNORECASE)
# Words with more text below them are a heading of Markdown and no answer: `#### Step 2`, `#### 3. Check the sum`.
_TITLE = r"(?:\d{1,2}[.):][ \t]+)?(?:(?i:step|part|case)\b[^\n]{0,200}|[^\W\d_]{2,}[^\n=]{0,200})\n\s*\S"
_HASHES = re.compile(rf"####(?![ \t]*{_TITLE})[ \t]*([^\n#]+)")
# `Answer: Paris` is an answer; `the answer is the sum of 3 and 4` is not one yet. The same words in other languages.
_ANSWER = r"\b(?:answer|ans|option|choice|respuesta|réponse|risposta|resposta|antwort)"
_HEDGE = r"(?: (?:therefore|thus|then|simply|indeed|about|approximately|exactly))?"
_IS = rf"(?:is|would be|should be|must be|es|est|è|é|ist|lautet){_HEDGE}\b"
_ABOUT = r"(?: (?:to|of) (?:the|this) (?:question|problem)| correcta| corretta| correta| correcte| finale?| final)?"
_PHRASE = re.compile(
    rf"(?i:{_ANSWER}{_ABOUT}\**\s?(?:[:=]|(?<=ans)\.|{_IS}(?:\s?:|(?=[\s*]*(?:[^a-zA-Z\s*:]|[A-Z]\b)))))[\s*]*([^\n]+)"
    r"|(?:答案|答え|正解|정답|(?<!回)答(?=[:：]))\**\s?(?:[:：=】]|是|为|為|は|等于|은|는)[:：]?[\s*]*([^\n。]+)"
    r"|选(?:择|项(?=\s?[A-J][。．.]?\s*(?:\n|$)))?[:：]?[\s*（(]*(?=[A-J](?![a-zA-Z]))([^\n。]+)"
)
# Languages with a decimal comma: `Die Antwort lautet 18,5`.
_COMMA = re.compile(r"respuesta|réponse|risposta|resposta|antwort", re.IGNORECASE)
# A reply in JSON.
_KEY = re.compile(r"[\"'](?:final_?)?answer[\"']\s?:\s?(?:\"([^\"\n]*)\"|'([^'\n]*)'|([^\s,}\"']+))", re.IGNORECASE)
# A heading on its own line: the answer is the line below.
_HEADING = re.compile(r"^[ \t#*_]*(?:the )?(?:final )?answer[ \t*_]*\n\s*([^\n]+)", re.IGNORECASE | re.MULTILINE)
# An answer in up to five words ends its sentence: `So the answer is yes.`, `The answer is the Eiffel Tower.`; `the sum
# of them` is none yet.
_WORD = r"[^\W\d_][\w'’-]*"
_MORE = rf"(?:[A-Z]\.(?= [A-Z])|{_WORD}|\d{{1,4}}(?:,(?= \d))?)"
_SAID = re.compile(
    rf"(?i:{_ANSWER}{_ABOUT}\s+{_IS}):?[\s*\"“']+"
    rf"((?i:yes|true|false|no(?! \w))\b|(?!(?i:(?:the|an?) (?-i:[a-z])[\w-]* of|to)\b)(?:(?i:the|an?) )?(?:[A-Z]\. )*"
    rf"{_WORD}(?: {_MORE}){{0,4}}(?=[\"”*']*(?:[.!?](?! [a-z])|\n|$)))"
)
_TAGGED = (_ANSWER_TAG, _HASHES, _KEY, _HEADING, _PHRASE, _SAID)
_FILLED = re.compile(r"\b(?:boxed|fbox)\s?\{(?![\s.…]*\})|<answer>(?![\s.…]*<)", re.IGNORECASE)
_MARKS = (_FILLED, _BARE_BOX, *_TAGGED[1:])
# The heading of a next question: `### Question 2:`, `**Problem:**`, `Q2:`, `user` where a chat lost its marks.
_NEXT = re.compile(
    r"\n[ \t#*_>]{0,9}(?i:question|problem|exercise|instruction|input|user|human|q|frage|aufgabe|pregunta"
    r"|pergunta|domanda|题目|问题?|例题|問題?|質問|질문|문제|вопрос|задача)"
    r"[ \t]?(?:#?\d{1,3})?[.)]?[ \t*_]{0,9}(?:[:：]|\n|(?<=\d\.) )"
)
_REASONING_ENDS = re.compile(
    r"</(?:seed:)?think(?:ing)?>|</thought>|</reasoning>|<\|end_of_thought\|>|\[/THINK\]|◁/think▷"
    r"|<\|channel\|>final<\|message\|>"
)


def until(text: str, stops: Sequence[str]) -> str:
    """The text before the first stop that follows a visible character.

    Where `\\nQuestion:` is one, a next question under any other heading ends it too, once an answer is marked.
    """
    start = len(text) - len(text.lstrip())
    found = [place for stop in stops if stop and (place := _outside(text, stop, start)) > start]
    if "\nQuestion:" in stops and (place := _next_question(text[:MAX_TEXT], start)) > start:
        found.append(place)
    return text[: min(found)] if found else text


def _outside(text: str, stop: str, start: int) -> int:
    """Where a stop is; a line of a chain of thought (`Question: what is x?`) is none."""
    place, thought = text.find(stop, start), _thought(text)
    return text.find(stop, thought[1]) if stop.startswith("\n") and thought[0] <= place < thought[1] else place


def _thought(text: str) -> tuple[int, int]:
    """Where the first chain of thought starts and ends; its opening mark may be in the prompt."""
    end = _REASONING_ENDS.search(text)
    return (max(0, text.rfind("<think", 0, end.start())), end.end()) if end else (0, 0)


def _next_question(text: str, start: int) -> int:
    """Where the text goes on with a question after its first marked answer; -1 if it does not."""
    start = max(start, _thought(text)[1])
    marks = [found.start() for mark in _MARKS if (found := mark.search(text, start))]
    found = _NEXT.search(text, min(marks)) if marks else None
    # Who asks the questions from the start asks them of itself.
    return -1 if not found or _NEXT.match("\n" + text[start:].lstrip()[:MAX_LINE]) else found.start()


def outside_reasoning(text: str) -> list[str]:
    """Where to look for an answer, in order: the text after a chain of thought, if any, and then the whole text."""
    ends = [found.end() for found in _REASONING_ENDS.finditer(text)]
    return [text[ends[-1] :], text] if ends and text[ends[-1] :].strip() else [text]


def boxes(text: str) -> list[str]:
    r"""The content of the last box (`\boxed{...}`, `\fbox{...}`, `\boxed 5`), after those that form a list with it.

    Of nested boxes the inner one counts. Placeholders (`\boxed{...}`) do not count. A last box that was never closed
    ends with its line.
    """
    text = text[-MAX_TEXT:]
    found = sorted([*_braced(text), *((f.start(), f.end(), f[1]) for f in _BARE_BOX.finditer(text))], reverse=True)
    found = [(start, end, box.strip()) for start, end, box in found if not is_placeholder(box)]
    kept = found[:1]
    for start, end, box in found[1:]:
        between = (end, kept[-1][0])
        # With only a space between two boxes the later one corrects the earlier one.
        if not (_BETWEEN.fullmatch(text, *between) and text[slice(*between)].strip("$ \n")) or len(kept) > MAX_LINE:
            break
        kept.append((start, end, box))
    listed = [box for _, _, box in reversed(kept)]
    # Repeated boxes with the same content are not a list.
    return listed if len({*listed}) > 1 else listed[-1:]


def _braced(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, content) of each box whose braces balance, and of the last one if they do not."""
    opened: list[tuple[int, int] | None] = []
    last = -1
    for found in _BOX_OR_BRACE.finditer(text):
        token = found.group()
        if token == "}":
            if opened and (box := opened.pop()):
                yield box[0], found.end(), text[box[1] : found.start()]
        elif token.endswith("{") and token != r"\{":
            is_box = "box" in token
            opened.append((found.start(), found.end()) if is_box else None)
            last = found.start() if is_box else last
    for box in opened:
        if box and box[0] == last:
            content = re.split(r"\n|</", text[box[1] : box[1] + MAX_LINE])[0]
            yield box[0], box[1] + len(content), content


def extract_boxed(text: str) -> str | None:
    r"""The content of the last box of a text, or of neighbouring boxes as `1, 2`; None without a filled box."""
    return ", ".join(boxes(text)) or None


def marked_answers(text: str) -> Iterator[str]:
    """The answers that the text marks as such, the most explicit mark first."""
    text = text[-MAX_TEXT:]
    if boxed := extract_boxed(text):
        yield boxed
    for mark in _TAGGED:
        answers = [answer.strip() for found in mark.finditer(text) if not is_placeholder(answer := _group(found))]
        yield from answers[-1:]


def own_answer(gold: str) -> str:
    """The answer in a right answer that comes with its solution or its mark (`#### 5`, a box); else all of it."""
    return next(marked_answers(gold), gold)


def _group(found: re.Match[str]) -> str:
    answer = next(group for group in found.groups() if group is not None)
    return re.sub(r"(?<![\d.])(\d{1,15}),(?=\d{1,2}(?!\d))", r"\1.", answer) if _COMMA.match(found[0]) else answer


def is_placeholder(text: str) -> bool:
    """Whether a mark contains only dots, or a box of dots."""
    return not re.sub(rf"{_BOX}[.… ]*\}}", "", text).strip(".… \n\t")


def has_box_or_tag(text: str) -> bool:
    """Whether the text has a box or a tag for its answer, even an empty one."""
    return bool(_BOX_OR_TAG.search(text))
