"""A text is cut where its segmenter says, and nothing is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nap.common.files import InputError
from nap.dependence.segments import Row, check_segmenter, segment


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


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("小明有3个苹果。小红又给了他2个。所以小明一共有5个苹果！对吗？是的。", 5),
        ("今日は晴れです。明日は雨です。傘を持って行きます。", 3),
        ("他说：“你好。”然后走了！？真的吗?是的", 4),
        ("値は３．１４です。（本当？）はい！！", 3),
        ("π等于3.14。π is 3.14. 好", 3),
        ("一。\n\n二。 三", 3),
    ],
)
def test_chinese_and_japanese_full_stops_end_a_sentence_without_a_space(text, sentences):
    found = pieces(text, "sentences")
    assert len(found) == sentences and "".join(found) == text


def test_tokens_k_has_k_tokens_a_segment_and_the_rest_last():
    assert pieces("abcdefgh", "tokens:3") == ["abc", "def", "gh"]


def test_each_path_is_a_segment_that_ends_in_white_space_and_empty_ones_are_none():
    assert pieces(["one two", " ", "three\n"], "paths") == ["one two\n", "three\n"]


@given(st.text(alphabet="ab.!\"' \n\t3好。？」", max_size=60), st.sampled_from(["lines", "sentences", "tokens:4"]))
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
