"""A text is cut where its segmenter says, nothing is lost, and a bad file is refused by line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nap.common.files import InputError
from nap.dependence.segments import Row, check_segmenter, read_rows, segment


def encode(text):
    return [ord(c) for c in text]


def decode(ids):
    return "".join(map(chr, ids))


def pieces(content, how, prompt="x"):
    return [decode(ids) for ids in segment(Row("row", prompt, content), how, encode).segments]


def test_lines_end_at_line_breaks_and_blank_lines_stay_with_the_line_before():
    assert pieces("one\ntwo\n\n\nthree", "lines") == ["one\n", "two\n\n\n", "three"]


def test_sentences_end_at_full_stops_and_line_ends_but_not_in_decimals():
    text = 'It is 3.5 m. "Is it?" Yes!\nSo 1 + 1\nis 2.'
    assert pieces(text, "sentences") == ["It is 3.5 m.", ' "Is it?"', " Yes!\n", "So 1 + 1\n", "is 2."]


def test_tokens_k_has_k_tokens_a_segment_and_the_rest_last():
    assert pieces("abcdefgh", "tokens:3") == ["abc", "def", "gh"]


def test_each_path_is_a_segment_that_ends_in_white_space_and_empty_ones_are_none():
    assert pieces(["one two", " ", "three\n"], "paths") == ["one two\n", "three\n"]


@given(st.text(alphabet="ab.!\"' \n\t3", max_size=60), st.sampled_from(["lines", "sentences", "tokens:4"]))
def test_the_segments_put_together_are_the_text_and_none_is_blank(text, how):
    found = pieces(text, how)
    assert "".join(found) == text.strip()
    assert how == "tokens:4" or all(piece.strip() for piece in found)


def test_the_prompt_is_before_the_segments_and_ends_in_a_line_break():
    text = segment(Row("row", "What?", "a\nb"), "lines", encode, start=[7])
    assert text.prompt == (7, *encode("What?\n")) and text.starts == [7, 9, 10]
    assert decode(text.ids[1:]) == "What?\na\nb"


def test_without_a_prompt_the_first_segment_is_the_prompt():
    text = segment(Row("row", "", "a\nb\nc"), "lines", encode)
    assert decode(text.prompt) == "a\n" and [decode(s) for s in text.segments] == ["b\n", "c"]


def test_a_shortened_text_keeps_the_whole_segments_within_the_limit():
    text = segment(Row("row", "x", "aa\nbb\ncc"), "lines", encode)
    assert [len(text.shortened(most).segments) for most in (4, 5, 7, 8, 10)] == [0, 1, 1, 2, 3]


@pytest.mark.parametrize(
    ("how", "said"),
    [("line", "did you mean 'lines'"), ("tokens:0", "1 or more"), ("tokens", "1 or more"), ("", "known")],
)
def test_an_unknown_segmenter_is_refused_with_those_that_are_known(how, said):
    with pytest.raises(InputError, match=said):
        check_segmenter(how)


@pytest.mark.parametrize(("content", "how"), [("text", "paths"), (["a", "b"], "lines")])
def test_a_list_where_a_text_is_cut_or_the_reverse_is_refused(content, how):
    with pytest.raises(InputError, match="try --segments"):
        pieces(content, how)


def write(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_rows_of_a_file_have_their_place_prompt_and_text(tmp_path):
    file = write(tmp_path / "a.jsonl", {"prompt": "p", "text": "t", "other": 1}, {"text": "u"})
    assert read_rows(file, "lines") == [Row(f"{file}:1", "p", "t"), Row(f"{file}:2", "", "u")]


@pytest.mark.parametrize(
    ("row", "how", "said"),
    [
        ({"text": 3}, "lines", "'text' should be a text, got 3"),
        ({"answer": "a"}, "lines", "got none .fields: 'answer'"),
        ({"segments": ["a"]}, "lines", "try --segments paths"),
        ({"text": "a"}, "paths", "try --segments lines"),
        ({"segments": ["a", 1]}, "paths", "a list of texts"),
        ({"prompt": 1, "text": "a"}, "lines", "'prompt' should be a text"),
        ({"text": "\ud800"}, "lines", "surrogate"),
        ([1], "lines", "a JSON object"),
        ("{", "lines", "not JSON"),
    ],
)
def test_a_bad_row_is_named_with_what_is_wrong(tmp_path, row, how, said):
    file = write(tmp_path / "bad.jsonl", {"text": "fine"} if how == "lines" else {"segments": ["fine"]}, row)
    with pytest.raises(InputError, match=said) as caught:
        read_rows(file, how)
    assert f"{file}:2" in str(caught.value)


def test_an_empty_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="is empty"):
        read_rows(write(tmp_path / "empty.jsonl"), "lines")
