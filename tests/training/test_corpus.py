"""What of a file is trained on: nothing is cut, what is left out says why, and no text closes its own slot."""

import json
import re
from collections import Counter
from dataclasses import replace

import pytest

from nap.canvas.canvas import CanvasSpec, find_tag
from nap.common.files import InputError
from nap.data.problems import Problem
from nap.data.samples import Path, Sample, join_paths, write_samples
from nap.training.batches import lay_out
from nap.training.corpus import Dropped, check_every_slot, check_texts, escape, read_corpus, write_dropped
from tiny import SPEC, recipe

TOKENIZER = recipe("llada_8b").tiny_tokenizer("<mask>")
SHORT = replace(SPEC, path_tokens=50, summary_tokens=40)


def sample(name, texts=("one", "two", "three"), summary="so: 4"):
    paths = tuple(Path(text=text) for text in texts)
    return Sample(problem=Problem(id=name, prompt="How many?", answer="4"), paths=paths, summary=summary)


def read(samples, tmp_path, spec=SHORT):
    write_samples(samples, tmp_path / "samples.parquet")
    return read_corpus(
        tmp_path / "samples.parquet",
        spec.paths,
        lambda one: lay_out(one, spec, TOKENIZER, TOKENIZER.mask_token_id, TOKENIZER.pad_token_id),
        TOKENIZER.mask_token_id,
    )


def test_what_does_not_fit_is_listed_with_its_reason_and_the_rest_is_unchanged(tmp_path):
    bad = {
        "long path": (sample("a", ("one", "x" * 60, "three")), "slot 2 takes .* tokens, its slot has 50"),
        "long summary": (sample("b", summary="y" * 60), "slot 4 takes .* tokens, its slot has 40"),
        "empty path": (sample("c", ("one", " ", "three")), "path 2 is empty"),
        "empty summary": (sample("d", summary=""), "slot 4 is empty"),
        "no paths": (sample("e", ()), "it has no paths"),
        "two paths": (sample("f", ("one", "two")), "4 slots .* got 3 texts"),
        "end of text inside": (sample("g", ("one <|endoftext|>", "two", "three")), "holds the padding or mask token"),
    }
    good = [sample("first"), sample("last", summary="so: 5")]
    corpus = read([good[0], *(one for one, _ in bad.values()), good[1]], tmp_path)
    assert corpus.samples == good and corpus.escaped == 0
    assert [(one.row, one.id) for one in corpus.dropped] == list(zip(range(2, 9), "abcdefg", strict=True))
    for one, (_, reason) in zip(corpus.dropped, bad.values(), strict=True):
        assert re.search(reason, one.reason)
    write_dropped(corpus.dropped, tmp_path / "dropped.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "dropped.jsonl").read_text().splitlines()]
    assert lines[2] == {"row": 4, "id": "c", "reason": "path 2 is empty"}


def test_a_dropped_sample_with_half_a_character_in_its_name_is_listed(tmp_path):
    write_dropped([Dropped(1, "a\ud800 é", "why")], tmp_path / "dropped.jsonl")
    text = (tmp_path / "dropped.jsonl").read_text(encoding="utf-8")
    assert "é" in text and json.loads(text)["id"] == "a\ud800 é"


def test_a_file_of_which_nothing_fits_is_refused_with_the_first_reason(tmp_path):
    with pytest.raises(InputError, match="none of its 1 samples can be trained on; row 1: path 1 is empty"):
        read([sample("a", ("", "two", "three"))], tmp_path)
    with pytest.raises(InputError, match="none of its 0 samples"):
        read([], tmp_path)


@pytest.mark.parametrize("tag", ["<think 1>", "</think 12>", "<think #2>", "<summary>", "</ summary >", "< think 3 >"])
def test_a_tag_inside_a_text_is_escaped_and_nothing_else_changes(tag, tmp_path):
    text = f"a < b {tag} c > d"
    assert find_tag(escape(text)) is None
    assert escape(text) == text.replace(tag, tag.replace("<", "&lt;"))
    assert escape("a < b > c </b>") == "a < b > c </b>"
    corpus = read([sample("a", (text, "two", "three"), summary=f"{tag} 4"), sample("b")], tmp_path)
    assert corpus.escaped == 1 and not corpus.dropped
    assert corpus.samples[0].paths[0].text == escape(text) and corpus.samples[0].summary == escape(f"{tag} 4")


def test_a_tag_that_closes_over_another_is_escaped_too():
    assert find_tag(escape("<<summary>summary><think <think 1>1>")) is None


def test_a_canvas_of_one_path_gets_the_long_chain_of_the_same_trajectories(tmp_path):
    spec = replace(SHORT, paths=1, path_tokens=80)
    corpus = read([sample("a"), sample("b", ("one", "", "three")), sample("c", ("alone",))], tmp_path, spec)
    assert [one.paths[0].text for one in corpus.samples] == [join_paths(["one", "two", "three"]), "alone"]
    assert corpus.dropped[0].reason == "path 2 is empty"


@pytest.mark.parametrize("batch_size", [1, 7, 20])
def test_every_epoch_has_each_sample_once_in_its_own_order(tmp_path, batch_size):
    corpus = read([sample(str(i)) for i in range(20)], tmp_path)
    draw = corpus.stream(1, batch_size)
    epochs = [[draw(20 * epoch + i).problem.id for i in range(20)] for epoch in range(3)]
    assert all(sorted(epoch, key=int) == [str(i) for i in range(20)] for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert [corpus.stream(1, batch_size)(i).problem.id for i in (39, 3)] == [epochs[1][19], epochs[0][3]]
    assert [corpus.stream(2, batch_size)(i).problem.id for i in range(20)] != epochs[0]


@pytest.mark.parametrize(("samples", "batch_size"), [(20, 8), (20, 16), (9, 8), (20, 30), (3, 8), (5, 64)])
def test_no_batch_holds_a_sample_twice_more_often_than_another(tmp_path, samples, batch_size):
    corpus = read([sample(str(i)) for i in range(samples)], tmp_path)
    draw, most = corpus.stream(1, batch_size), -(-batch_size // samples)
    drawn = [draw(i).problem.id for i in range(16 * batch_size)]
    for start in range(0, len(drawn), batch_size):
        counts = Counter(drawn[start : start + batch_size])
        assert {most - 1, *counts.values()} <= {most - 1, most} and (most == 1 or len(counts) == samples)
    assert corpus.stream(1, batch_size)(len(drawn) - 1).problem.id == drawn[-1], "whatever was drawn before"


@pytest.mark.parametrize(
    ("draws", "said"), [(8, "0 or 1 times"), (20, "1 time"), (32, "1 or 2 times"), (60, "3 times")]
)
def test_it_says_how_often_each_sample_is_drawn(tmp_path, draws, said):
    corpus = read([sample(str(i)) for i in range(20)], tmp_path)
    counts = Counter(corpus.stream(0, 16)(i).problem.id for i in range(draws))
    found = {counts[str(i)] for i in range(20)}
    assert corpus.seen(draws) == said and found == {int(word) for word in said.split() if word.isdigit()}


def test_summaries_without_a_slot_and_prompts_with_a_mask_are_counted(tmp_path):
    spec = CanvasSpec(paths=1, path_tokens=60, summary_tokens=0, tags="none")
    odd = replace(sample("b"), problem=Problem(id="b", prompt="How <mask> many?", answer="4"))
    one, several = read([sample("a"), odd, sample("c", summary=" ")], tmp_path, spec), read([sample("a")], tmp_path)
    assert (one.unsaid, one.masked, len(one.samples)) == (2, 1, 3) and (several.unsaid, several.masked) == (0, 0)


def test_a_path_whose_place_is_drawn_fits_every_slot_or_is_left_out():
    """`</think 10>` takes a token more than `</think 1>` where tags are text."""
    spec, longest = CanvasSpec(paths=10, path_tokens=20, summary_tokens=20), len("</think 10>")
    full, short = "x" * (20 - longest), "x"
    check_every_slot(sample("a", (full, *[short] * 9)), spec, TOKENIZER)
    long = sample("a", (*[short] * 3, full + "x", *[short] * 6))
    lay_out(long, spec, TOKENIZER, TOKENIZER.mask_token_id, TOKENIZER.pad_token_id)
    with pytest.raises(InputError, match="path 4 takes 21 tokens with the longest closing tag, a slot has 20"):
        check_every_slot(long, spec, TOKENIZER)


def test_an_unknown_word_is_found_in_the_texts_and_a_prompt_may_name_the_unknown_token():
    words = recipe("bundled").build_tokenizer("arith")
    known = sample("a", ("1", "2", "3"), "4")
    known = replace(known, problem=replace(known.problem, prompt=f"How many has Bob ? {words.unk_token}"))
    check_texts(known, SPEC, words, ())
    for unknown in (replace(known, paths=(Path(text="1 zebra"),)), replace(known, summary="zebra")):
        with pytest.raises(InputError, match="the tokenizer does not know 'zebra'"):
            check_texts(unknown, SPEC, words, ())
    check_texts(replace(known, summary="zebra"), replace(SPEC, paths=1, summary_tokens=0, tags="none"), words, ())


def test_the_digest_is_of_the_files_bytes(tmp_path):
    one, same, other = (read([sample(name)], tmp_path).digest for name in ("a", "a", "b"))
    assert one == same != other
