"""What goes into a canvas comes back out, nothing is cut unsaid, and who sees whom is as drawn here by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nap.canvas.canvas import Canvas, CanvasSpec, collate, encode_tag, fill, find_tag, layout, parse
from nap.canvas.visibility import Forest, Layout, owners, visible
from nap.common.files import InputError
from nap.data.trace import HEADER, OUTSIDE, PROMPT
from toys import CHARS, EOS, LETTERS, MASK, PAD, PIECES, TAGLESS, UNKNOWN, WORDS, Toy

PLAIN: dict[str, Any] = {"paths": 1, "summary_tokens": 0, "tags": "none"}
TOKENIZERS = {"single-token tags": WORDS, "tags of characters": CHARS, "tags with spaces": PIECES}


def spec(**fields: Any) -> CanvasSpec:
    known: dict[str, Any] = {"paths": 2, "path_tokens": 4, "summary_tokens": 3}
    return CanvasSpec(**known | fields)


def who_sees(where: Layout) -> np.ndarray:
    """visible_BLL of a layout under which not all see all."""
    assert where.visible_BLL is not None
    return where.visible_BLL


@st.composite
def filled(draw):
    """(tokenizer, spec, prompt ids, texts) where every text fits its slot."""
    tokenizer = draw(st.sampled_from(list(TOKENIZERS.values())))
    kind = draw(st.sampled_from(["think", "hash", "none"]))
    paths = 1 if kind == "none" else draw(st.integers(1, 4))
    summary = 0 if kind == "none" else 30 if paths > 1 else draw(st.sampled_from([0, 30]))
    shape = CanvasSpec(paths=paths, path_tokens=25, summary_tokens=summary, tags=kind)
    space = " " if tokenizer.join else ""
    text = st.lists(st.sampled_from(LETTERS), min_size=1, max_size=6).map(space.join)
    return tokenizer, shape, draw(st.lists(st.integers(4, 20), max_size=3)), [draw(text) for _ in shape.slots]


@given(filled())
def test_texts_that_are_filled_in_parse_back(case):
    tokenizer, shape, prompt, texts = case
    canvas = layout(prompt, shape, tokenizer, MASK)
    ids = fill(canvas, texts, tokenizer, PAD)
    completion = parse(canvas, ids, tokenizer, (PAD, EOS))
    assert completion.paths == tuple(texts[: shape.paths])
    assert completion.summary == (texts[-1] if shape.summary_tokens else "")
    assert completion.closed == (shape.tags != "none",) * len(texts)


@given(filled())
def test_filling_changes_the_slots_and_nothing_else(case):
    tokenizer, shape, prompt, texts = case
    canvas = layout(prompt, shape, tokenizer, MASK)
    before = canvas.ids.copy()
    ids = fill(canvas, texts, tokenizer, PAD)
    assert (canvas.ids == before).all()
    assert (ids[canvas.region < 0] == canvas.ids[canvas.region < 0]).all()
    assert not (ids[canvas.region >= 0] == MASK).any()
    assert list(ids[: len(prompt)]) == prompt


def test_a_canvas_is_prompt_headers_and_masked_slots():
    canvas = layout([9, 8], spec(), WORDS, MASK, problem_id="p")
    think1, think2, summary = (WORDS.id_of[tag] for tag in ("<think 1>", "<think 2>", "<summary>"))
    m = MASK
    assert canvas.ids.tolist() == [9, 8, think1, m, m, m, m, think2, m, m, m, m, summary, m, m, m]
    assert canvas.region.tolist() == [PROMPT] * 2 + [HEADER, 0, 0, 0, 0, HEADER, 1, 1, 1, 1, HEADER, 2, 2, 2]
    assert (len(canvas), canvas.problem_id) == (16, "p")


def test_a_header_of_several_tokens_is_clamped_whole():
    canvas = layout([9], spec(paths=1, path_tokens=1, summary_tokens=0), PIECES, MASK)
    assert PIECES.decode(canvas.ids[1:5].tolist()) == "< think 1 >"
    assert canvas.region.tolist() == [PROMPT, *[HEADER] * 4, 0]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("think", ["<think 1>", "</think 1>", "<think 2>", "</think 2>", "<summary>", "</summary>"]),
        ("hash", ["<think #1>", "</think #1>", "<think #2>", "</think #2>", "<summary>", "</summary>"]),
    ],
)
def test_both_spellings_of_the_tags(tags, expected):
    assert spec(tags=tags).special_tokens == expected


def test_one_slot_is_the_long_chain():
    shape = spec(paths=1)
    canvas = layout([], shape, WORDS, MASK)
    assert set(canvas.region) == {HEADER, 0, 1}
    assert parse(canvas, fill(canvas, ["a b", "c"], WORDS, PAD), WORDS, [PAD]).paths == ("a b",)


def test_a_plain_canvas_is_one_slot_without_tags_and_needs_no_tokenizer():
    canvas = layout([9, 8], CanvasSpec(path_tokens=3, **PLAIN), None, MASK)
    assert canvas.ids.tolist() == [9, 8, MASK, MASK, MASK] and canvas.region.tolist() == [PROMPT, PROMPT, 0, 0, 0]
    assert canvas.spec.special_tokens == []


def test_tags_without_a_tokenizer_are_refused_in_one_line():
    with pytest.raises(InputError, match=r"^no tokenizer to write the tag '<think 1>' with; use a canvas without tags"):
        layout([9, 8], spec(), None, MASK)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"paths": 0}, "paths must be at least 1, got 0"),
        ({"path_tokens": 0}, "path_tokens must be at least 1"),
        ({"summary_tokens": -1}, "summary_tokens must be at least 0"),
        ({"path_tokens": 1.5}, "path_tokens must be a whole number"),
        ({"tags": "xml"}, "unknown canvas tags 'xml'; known: think, hash, none"),
        ({"attention": "causal"}, "unknown attention layout 'causal'; known: full, paths"),
        ({"tags": "none"}, "one path and no summary"),
        ({"tags": "none", "paths": 1}, "one path and no summary"),
        ({"summary_tokens": 0}, "2 paths need a summary"),
    ],
)
def test_a_canvas_that_cannot_be_is_refused(fields, said):
    with pytest.raises(InputError, match=said):
        spec(**fields)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["a b c d", "a", "b"], "slot 1 takes 5 tokens, its slot has 4"),
        (["a", "a", "b c d"], "slot 3 takes 4 tokens, its slot has 3"),
        (["a", "b"], "has 3 slots .* got 2 texts"),
        (["a", "b", "c", "d"], "has 3 slots .* got 4 texts"),
        (["a", " ", "b"], "slot 2 is empty"),
        (["a </think 1> b", "a", "b"], "slot 1 holds the tag '</think 1>'"),
        (["a", "a", "<summary> b"], "slot 3 holds the tag '<summary>'"),
        (["a", "<pad>", "b"], "slot 2 holds the padding or mask token"),
        (["a", "a <mask>", "b"], "slot 2 holds the padding or mask token"),
    ],
)
def test_nothing_is_silently_cut_or_lost(texts, said):
    with pytest.raises(InputError, match=said):
        fill(layout([], spec(), WORDS, MASK), texts, WORDS, PAD)


def test_a_text_may_fill_its_slot_to_the_last_token():
    canvas = layout([], spec(), WORDS, MASK)
    ids = fill(canvas, ["a b c", "d", "e f"], WORDS, PAD)
    assert (ids[canvas.region == 0] != PAD).all() and (ids[canvas.region == 2] != PAD).all()


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("so <think 1> and", "<think 1>"),
        ("</think #12>", "</think #12>"),
        ("x</summary>y", "</summary>"),
        ("< / think 1 >", "< / think 1 >"),
        ("< summary >", "< summary >"),
        ("<think>", None),
        ("1 < 2 and 3 > 2", None),
        ("<summary of it>", None),
    ],
)
def test_find_tag(text, tag):
    assert find_tag(text) == tag


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS.keys())
@pytest.mark.parametrize("tag", ["<think 1>", "</think #2>", "</summary>"])
def test_a_tag_is_encoded_as_what_reads_back_as_it(tokenizer, tag):
    assert tokenizer.decode(encode_tag(tag, tokenizer)).replace(" ", "") == tag.replace(" ", "")


@pytest.mark.parametrize("tokenizer", [TAGLESS, Toy(r"<\w+ \d>", ["<think 1>"], "")], ids=["unknown", "nothing"])
def test_a_tokenizer_without_the_tags_is_named_with_the_way_out(tokenizer):
    with pytest.raises(InputError, match=r"cannot write the tag '</?(think 1|summary)>'.*without tags"):
        layout([], spec(paths=1), tokenizer, MASK)


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS.keys())
def test_what_follows_the_closing_tag_is_not_text(tokenizer):
    canvas = layout([], CanvasSpec(paths=1, path_tokens=40, summary_tokens=0), tokenizer, MASK)
    space = " " if tokenizer.join else ""
    content = tokenizer.encode(f"a{space}b") + encode_tag("</think 1>", tokenizer) + tokenizer.encode("c")
    ids = canvas.ids.copy()
    ids[canvas.region == 0] = content + [PAD] * (40 - len(content))
    completion = parse(canvas, ids, tokenizer, [PAD])
    assert completion.paths == (f"a{space}b",) and completion.closed == (True,)


def test_a_slot_that_is_not_closed_or_closed_by_another_tag_says_so():
    canvas = layout([], spec(), WORDS, MASK)
    ids = fill(canvas, ["a", "b", "c"], WORDS, PAD)
    ids[canvas.region == 0] = WORDS.encode("a b c d")
    ids[canvas.region == 1] = [*WORDS.encode("a </think 1>"), EOS, PAD]
    completion = parse(canvas, ids, WORDS, [PAD, EOS])
    assert completion.closed == (False, False, True)
    assert completion.paths == ("a b c d", "a </think 1>")


# Who sees whom. Positions: 0 prompt, 1 header, 2-3 path 1, 4 header, 5-6 path 2, 7 header, 8 summary, 9 padding.
DRAWN = """
    #.........
    ####......
    ####......
    ####......
    #...###...
    #...###...
    #...###...
    #########.
    #########.
    #........#
"""


def drawn(visible_LL):
    return "\n".join("    " + "".join(".#"[int(seen)] for seen in row) for row in visible_LL)


@pytest.fixture
def ragged():
    """A canvas of nine tokens, and one of eight."""
    long = layout([9], spec(path_tokens=2, summary_tokens=1, attention="paths"), WORDS, MASK)
    short = layout([], long.spec, WORDS, MASK)
    return long, short


def test_with_attention_paths_a_path_sees_the_prompt_and_itself_and_the_summary_sees_all(ragged):
    _, where = collate([Canvas(ids=np.append(c.ids, 0), region=np.append(c.region, OUTSIDE), spec=c.spec)
                        for c in ragged], PAD)  # fmt: skip
    assert drawn(who_sees(where)[0]) == DRAWN.strip("\n").rstrip()


def test_headers_of_several_tokens_belong_to_the_slot_that_they_open():
    canvas = layout([9], CanvasSpec(paths=2, path_tokens=1, summary_tokens=1), PIECES, MASK)
    assert owners(canvas.region[None])[0].tolist() == [PROMPT, *[0] * 5, *[1] * 5, *[2] * 4]


def test_with_full_attention_all_see_all_but_padding(ragged):
    full = [Canvas(ids=c.ids, region=c.region, spec=spec(attention="full")) for c in ragged]
    assert collate(full[:1], PAD)[1].visible_BLL is None
    visible_BLL = who_sees(collate(full, PAD)[1])
    assert visible_BLL[0].all() and visible_BLL[1, :, :8].all() and not visible_BLL[1, :8, 8].any()


@pytest.mark.parametrize("attention", ["full", "paths"])
def test_no_position_sees_nothing(ragged, attention):
    region_BL = collate(ragged, PAD)[1].region_BL
    assert who_sees(Layout(region_BL, attention, paths=2)).any(axis=2).all()


def test_collate_pads_ragged_rows_on_the_right(ragged):
    ids_BL, where = collate(ragged, PAD)
    long, short = ragged
    assert ids_BL[0].tolist() == long.ids.tolist() and ids_BL[1].tolist() == [*short.ids.tolist(), PAD]
    assert where.region_BL[1].tolist() == [*short.region.tolist(), OUTSIDE]
    assert (where.attention, where.paths) == (("paths", "paths"), (2, 2))
    ids_BL[:] = UNKNOWN
    assert UNKNOWN not in long.ids, "a batch must not write through to the canvases"


@pytest.mark.parametrize("other", [{"attention": "full"}, {"paths": 3, "attention": "paths"}])
def test_rows_of_several_layouts_share_a_batch_and_each_sees_what_it_sees_alone(ragged, other):
    rows = [ragged[0], layout([], spec(**other), WORDS, MASK)]
    together = who_sees(collate(rows, PAD)[1])
    for n, row in enumerate(rows):
        alone = collate([row], PAD)[1].visible_BLL
        alone = np.ones((1, len(row), len(row)), bool) if alone is None else alone
        assert (together[n, : len(row), : len(row)] == alone[0]).all()
        assert not together[n, : len(row), len(row) :].any()


@given(st.data())
def test_a_part_of_the_positions_sees_what_it_sees_in_the_whole(data):
    region_BL = np.array([[PROMPT, -1, 0, 0, -1, 1, -1, 2, OUTSIDE], [PROMPT, PROMPT, 0, -1, 1, 1, 2, 2, 2]])
    kinds = st.tuples(st.sampled_from(["full", "paths"]), st.sampled_from(["full", "paths"]))
    where = Layout(region_BL, data.draw(kinds), (2, 2))
    block_size = data.draw(st.sampled_from([None, 1, 2, 4]))
    positions = st.lists(st.integers(0, 8), min_size=1, max_size=5)
    query, key = (np.array([data.draw(positions)[:1] * 2, data.draw(positions)[:1] * 2]) for _ in range(2))
    whole = visible(where, block_size=block_size)
    whole = np.ones((2, 9, 9), bool) if whole is None else whole
    found = visible(where, query, key, block_size=block_size)
    found = np.ones((2, 2, 2), bool) if found is None else found
    for b in range(2):
        assert (found[b] == whole[b][np.ix_(query[b], key[b])]).all()


def test_in_a_forest_a_branch_sees_itself_and_its_own_trunk_up_to_where_it_leaves():
    # A trunk of three, a branch of two after its first two tokens, and a stranger's trunk of two.
    forest = Forest(
        stem_T=np.array([0, 0, 0, 1, 1, 2, 2]), position_T=np.array([0, 1, 2, 2, 3, 0, 1]),
        trunk_S=np.array([0, 0, 2]), after_S=np.array([0, 2, 0]),
    )  # fmt: skip
    drawn = ["1......", "11.....", "111....", "11.1...", "11.11..", ".....1.", ".....11"]
    every = np.arange(7)
    assert forest.visible(every, every).tolist() == [[seen == "1" for seen in row] for row in drawn]
    assert forest.visible(np.array([4]), np.array([1, 2, 4])).tolist() == [[True, False, True]]
