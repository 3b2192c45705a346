"""A slot's text ends at its first end of text, as in Dream's and dllm's evaluations; words behind it can be kept."""

import numpy as np
import pytest

from nap.canvas.canvas import CanvasSpec, layout, parse
from nap.common.files import InputError

WORDS = [
    "<mask>",
    "<end>",
    "the",
    "answer",
    "is",
    "5",
    ".",
    "3",
    "<think",
    "</think",
    "<summary>",
    "</summary>",
    "1",
    "2",
    ">",
]
ENDS = (1,)


class Words:
    """A tokenizer of words between spaces."""

    def encode(self, text, add_special_tokens=False):
        """The ids of words that are known."""
        return [WORDS.index(word) for word in text.replace("1>", "1 >").replace("2>", "2 >").split()]

    def decode(self, ids):
        """The words with spaces between them."""
        return " ".join(WORDS[i] for i in ids)


def parsed(spec, *texts):
    """What the canvas says whose slots hold these texts, then ends of text."""
    canvas = layout([2], spec, Words(), 0)
    ids = canvas.ids.copy()
    for (code, tokens, _, _), text in zip(spec.slots, texts, strict=True):
        written = Words().encode(text)
        ids[canvas.region == code] = written + [1] * (tokens - len(written))
    return parse(canvas, np.array(ids), Words(), ENDS)


TEXT = "the answer is 5 . <end> the answer is 3 ."


@pytest.mark.parametrize(
    ("after_end", "text"), [("cut", "the answer is 5 ."), ("keep", "the answer is 5 . the answer is 3 .")]
)
def test_a_plain_text_ends_at_its_first_end_of_text_unless_what_is_behind_is_to_count(after_end, text):
    spec = CanvasSpec(paths=1, path_tokens=16, summary_tokens=0, tags="none", after_end=after_end)
    assert parsed(spec, TEXT).paths == (text,)


def test_so_does_each_slot_of_a_nap_canvas_whose_tag_closes_it_only_before():
    spec = CanvasSpec(paths=2, path_tokens=12, summary_tokens=8)
    said = parsed(spec, "is 5 </think 1>", "is <end> 3 </think 2>", "5 </summary> <end> 3")
    assert (said.paths, said.summary, said.closed) == (("is 5", "is"), "5", (True, False, True))


def test_nothing_but_ends_is_an_empty_text_and_another_setting_is_refused():
    assert parsed(CanvasSpec(paths=1, path_tokens=4, summary_tokens=0, tags="none"), "").paths == ("",)
    with pytest.raises(InputError, match="unknown after_end 'drop'; known: cut, keep"):
        CanvasSpec(after_end="drop")  # pyright: ignore[reportArgumentType]
