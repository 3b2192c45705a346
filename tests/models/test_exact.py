"""Exact denoisers: opened by name, decoded by any policy, and what a decode cost against the law."""

import gzip
import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from nap.canvas.canvas import CanvasSpec, layout
from nap.common.files import InputError
from nap.common.parquet import write_parquet
from nap.decoding.budget import Budget, Sampling
from nap.decoding.decode import decode_traces
from nap.decoding.policies.registry import parse_policy
from nap.models.any import load
from nap.models.exact import ExactDenoiser
from nap.models.exact_cost import cost_of, nats_of, pair, total_correlation
from nap.models.laws import MASKED

LINES = "the cat sat . the dog ran .\nthe dog sat .\nthe cat ran . the dog ran .\n"


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(LINES)
    return path


def plain(denoiser, tokens, prompt="the", spec=None):
    spec = spec or CanvasSpec(paths=1, path_tokens=tokens, summary_tokens=0, tags="none")
    return layout(denoiser.tokenizer.encode(prompt), spec, denoiser.tokenizer, denoiser.mask_id)


def traces(denoiser, policy="low_confidence", tokens=1, length=4, spec=None):
    budget = Budget(tokens=tokens) if parse_policy(policy).paced else Budget()
    return decode_traces(denoiser, [plain(denoiser, length, spec=spec)], parse_policy(policy), budget=budget)


def opened(corpus, more="") -> ExactDenoiser:
    found = load(f"exact:{corpus}{more}")
    assert isinstance(found, ExactDenoiser)
    return found


@pytest.mark.parametrize("more", ["", ",order=3", ",law=hmm,states=3", ",unit=letter,order=3,per=file"])
def test_a_law_is_decoded_by_any_policy_like_a_model(corpus, more):
    denoiser = opened(corpus, more)
    for policy in ("ar", "low_confidence", "random", "threshold:tau=0.9", "entropy_bound"):
        (trace,) = traces(denoiser, policy)
        assert len(trace.events) == 4 and all(event.token >= denoiser.offset for event in trace.events)
        assert trace.setting["model"]["family"] == "exact"
    assert set(denoiser.tokenizer.decode(trace.final)) <= set(LINES.replace("\n", " ")) | set("<unk>")


def test_the_likeliest_words_are_written(corpus):
    (trace,) = traces(opened(corpus, ",order=3"), "ar")
    assert opened(corpus).tokenizer.decode(trace.final) == "the dog ran . the"


def test_logits_are_the_laws_log_probabilities_in_a_batch_of_equal_prompts(corpus):
    import torch

    from nap.canvas.canvas import collate

    denoiser = opened(corpus)
    one, other = plain(denoiser, 3), plain(denoiser, 3)
    other.ids[-1] = denoiser.tokenizer.convert_tokens_to_ids(".")
    ids, seen = collate([one, other], denoiser.pad_id)
    at = torch.tensor([0, 0, 1]), torch.tensor([1, 3, 2])
    for _ in range(2):
        chances = denoiser.logits(torch.from_numpy(ids), seen, at).exp().numpy()[:, denoiser.offset :]
        prompt = one.ids[:1]
        wanted = [denoiser.read(prompt, canvas.ids[1:]).marginals_LV for canvas in (one, other)]
        assert chances == pytest.approx(np.stack([wanted[0][0], wanted[0][2], wanted[1][1]]), abs=1e-6)


def test_decodes_of_one_open_law_in_several_threads_are_what_they_are_alone(corpus):
    denoiser: Any = opened(corpus)
    seeds = range(16)

    def decoded(seed):
        (trace,) = decode_traces(
            denoiser, [plain(denoiser, 12)], parse_policy("random"), budget=Budget(tokens=1),
            sampling=Sampling(temperature=1.0), seed=seed,
        )  # fmt: skip
        return trace.final

    alone = [decoded(seed) for seed in seeds]
    with ThreadPoolExecutor(8) as threads:
        assert [*threads.map(decoded, seeds)] == alone


def test_paths_are_independent_texts_behind_one_prompt(corpus):
    denoiser = opened(corpus)
    spec = CanvasSpec(paths=2, path_tokens=3, summary_tokens=1)
    (trace,) = traces(denoiser, "parallel_forced", spec=spec)
    slots = [[trace.final[i] for i in range(len(trace.final)) if trace.region[i] == code] for code in (0, 1)]
    (alone,) = traces(denoiser, "low_confidence", length=3)
    assert slots[0] == slots[1] == alone.final[1:]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (",law=bag", "unknown law 'bag'"),
        (",ordr=2", "an exact law has no setting 'ordr'; did you mean 'order'"),
        (",order=two", "order must be int, got 'two'"),
        (",order=9", "order must be from 1 to 6, got 9"),
        (",vocabulary=9999", "vocabulary must be from 2 to 4096, got 9999"),
        (",states=32", "states=32 is a setting of law=hmm, and changes nothing in law=ngram; drop it, or say law=hmm"),
        (",law=hmm,backoff=0.2", "backoff=0.2 is a setting of law=ngram, and changes nothing in law=hmm"),
    ],
)
def test_a_law_that_is_none_is_refused_in_one_line(corpus, more, said):
    with pytest.raises(InputError) as caught:
        load(f"exact:{corpus}{more}")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_absent_or_empty_is_refused(tmp_path):
    with pytest.raises(InputError):
        load(f"exact:{tmp_path}/none.txt")
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(InputError, match="hold no token"):
        load(f"exact:{tmp_path}/empty.txt")


@pytest.mark.parametrize("word", ["<mask>", "<pad>", "<think 1>", "</summary>"])
def test_a_text_with_a_mark_of_the_canvas_is_refused_by_the_mark(tmp_path, word):
    (tmp_path / "t.txt").write_text(f"the capital of {word} is big\n")
    with pytest.raises(InputError, match=f"t.txt holds '{word}', which is a mark of a canvas"):
        load(f"exact:{tmp_path}/t.txt")


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz", "corpus.parquet"])
def test_a_file_of_rows_gives_the_law_of_their_texts(corpus, name):
    texts = [*LINES.splitlines(), None]
    file = corpus.with_name(name)
    if name.endswith(".parquet"):
        write_parquet(file, pa.table({"id": range(len(texts)), "text": texts}))
    else:
        rows = "".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(texts)).encode()
        file.write_bytes(gzip.compress(rows) if name.endswith(".gz") else rows)
    plain_text, of_rows = opened(corpus), opened(file)
    assert of_rows.tokenizer.get_vocab() == plain_text.tokenizer.get_vocab()
    ids = np.array(of_rows.tokenizer.encode("the dog ran"))
    assert of_rows.read(ids[:1], ids[1:]).log_p == plain_text.read(ids[:1], ids[1:]).log_p


@pytest.mark.parametrize("row", [{"question": "6*7?"}, {"text": ["the cat"]}])
def test_a_row_without_a_text_is_refused_by_its_line(tmp_path, row):
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": "the cat"}) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(InputError, match=r"rows.jsonl:2: a law is fitted to the field 'text' of each row; got"):
        load(f"exact:{tmp_path}/rows.jsonl")


# What a decode cost


@pytest.mark.parametrize("more", ["", ",order=3", ",law=hmm,states=3"])
def test_the_loss_of_what_was_written_is_its_probability_in_whatever_order(corpus, more):
    denoiser = opened(corpus, more)
    for policy, tokens in (("ar", 1), ("low_confidence", 1), ("low_confidence", 2), ("random", 4)):
        (trace,) = traces(denoiser, policy, tokens)
        cost = cost_of(denoiser, trace)
        chance = denoiser.read(np.array(trace.final[:1]), np.array(trace.final[1:])).log_p
        assert cost.tokens == 4 and cost.nats == pytest.approx(-chance, abs=1e-9)
        if tokens == 1:
            assert cost.dependence == pytest.approx(0, abs=1e-9) and cost.correlation == 0


def test_what_parallel_commits_lose_is_their_total_correlation_by_enumeration(corpus):
    denoiser = opened(corpus)
    reader, size = denoiser.reader(plain(denoiser, 3).ids[:1], 3), denoiser.law.vocabulary
    reader.read(np.full(3, MASKED))
    joint = np.zeros((size,) * 3)
    for content in itertools.product(range(size), repeat=3):
        joint[content] = np.exp(denoiser.law.read(np.array(content), reader.start_S).log_p)

    def entropy(p):
        return float(-(p[p > 0] * np.log(p[p > 0])).sum())

    apart = [entropy(joint.sum(axis=tuple({0, 1, 2} - {i}))) for i in range(3)]
    assert total_correlation(reader, [0, 1, 2]) == pytest.approx(sum(apart) - entropy(joint), abs=1e-9)
    assert total_correlation(reader, [0, 2]) == pytest.approx(apart[0] + apart[2] - entropy(joint.sum(1)), abs=1e-9)
    assert pair(reader, 0, 2) == pytest.approx(joint.sum(axis=1), abs=1e-9)
    assert total_correlation(reader, [1]) == 0
    # What is written between two words of an n-gram of order 2 leaves them nothing to say of each other.
    reader.read(np.array([MASKED, 1, MASKED]))
    assert total_correlation(reader, [0, 2]) == pytest.approx(0, abs=1e-9)


def test_a_correlation_that_is_too_large_is_not_made_up(corpus):
    denoiser = opened(corpus, ",order=3")
    reader = denoiser.reader(plain(denoiser, 3).ids[:1], 3)
    reader.read(np.full(3, MASKED))
    assert total_correlation(reader, [0, 1]) is not None and total_correlation(reader, [0, 1, 2]) is None


def test_the_dependence_that_a_step_ignored_is_that_of_its_tokens(corpus):
    denoiser = opened(corpus)
    (trace,) = traces(denoiser, "random", 4)
    prompt, slot = np.array(trace.final[:1]), np.array(trace.final[1:])
    alone = denoiser.read(prompt, np.full(4, denoiser.mask_id)).marginals_LV[range(4), denoiser.law_ids(slot)]
    together = denoiser.read(prompt, slot).log_p
    assert cost_of(denoiser, trace).dependence == pytest.approx(together - np.log(alone).sum(), abs=1e-9)


def test_decodes_of_another_law_are_measured_by_their_texts_and_never_by_their_numbers(corpus):
    other = corpus.with_name("other.txt")
    other.write_text("ran dog . sat\nthe cat\n" + LINES)
    law, of = opened(corpus), opened(other)
    (trace,) = traces(of)
    cost, words = cost_of(law, trace), of.tokenizer.decode(trace.final).split()
    numbers = np.array(law.tokenizer.convert_tokens_to_ids(words))
    assert numbers.tolist() != trace.final and cost.nats == pytest.approx(-law.read(numbers[:1], numbers[1:]).log_p)
    assert nats_of(law, trace) == pytest.approx(cost[:2])


def test_decodes_that_are_no_tokens_of_the_law_are_refused_by_name(corpus):
    law = opened(corpus)
    (trace,) = traces(law)
    imported = replace(trace, setting={}, vocabulary={})
    with pytest.raises(InputError, match=r"of 'None' holds token \d+, which is no token of exact:"):
        cost_of(law, imported)
    with pytest.raises(InputError, match=r"holds 'the', which is no token of exact:.*unit=letter; give decodes of"):
        nats_of(opened(corpus, ",unit=letter"), trace)
    corpus.write_text(LINES + "the bird sang .\n")
    with pytest.raises(InputError, match=r"was decoded when the file of exact:.* held other texts; decode again"):
        cost_of(opened(corpus), trace)
