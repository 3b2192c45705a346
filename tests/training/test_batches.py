"""A batch depends on its seed and index alone, keeps to its slots, and is the same step in any number of parts."""

from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
import torch

from nap.canvas.canvas import CanvasSpec
from nap.common.files import InputError
from nap.data.samples import concatenated
from nap.data.trace import OUTSIDE, PROMPT
from nap.tasks.arith import Arith
from nap.training.batches import CHUNK, DiffusionBatches, lay_out
from nap.training.loss import masked_loss
from nap.training.settings import Objective
from tiny import recipe, tiny_model

BUNDLED = recipe("bundled")
TOKENIZER = BUNDLED.build_tokenizer("arith")
PAD, MASK = TOKENIZER.pad_token_id, TOKENIZER.mask_token_id
# Of batch 9 of seed 3, written down on 2026-11-24: sums of its ids, targets, places and weights.
GOLDEN = (8605, 6187, 47342, 0.6397848725318909)
TAGS = TOKENIZER.convert_tokens_to_ids(["<think 1>", "<think 2>", "<think 3>", "<summary>"])


def batches_of(kind="nap", *, task="arith", batch_size=4, batches=6, seed=3, attention="full", **options):
    tokenizer = BUNDLED.build_tokenizer(task)
    return DiffusionBatches(
        partial(BUNDLED.draw, task, kind, seed), replace(BUNDLED.canvas_of(task, kind), attention=attention), tokenizer,
        mask_id=tokenizer.mask_token_id, pad_id=tokenizer.pad_token_id, batch_size=batch_size, batches=batches,
        seed=seed, **options,
    )  # fmt: skip


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_batch_depends_on_seed_and_index_and_on_nothing_that_ran_before():
    forwards, backwards = batches_of(batches=20), batches_of(batches=20)
    wanted = [forwards[i] for i in range(20)]
    torch.manual_seed(99)
    assert all(equal(wanted[i], backwards[i]) for i in (19, 3, 3, 11, 0))
    assert not any(equal(wanted[0], other) for other in (wanted[1], wanted[8], batches_of(seed=4)[0]))


def test_the_stream_is_the_one_that_earlier_trainings_saw():
    """The bundled models and the study were trained on it: samples, masks and weights must not move."""
    batch = batches_of(batches=10, objective=Objective(weight="none", power=0.5))[9]
    assert batch["input_ids"].sum().item() == GOLDEN[0] and batch["targets"].sum().item() == GOLDEN[1]
    assert (batch["positions"] * (batch["rows"] + 1)).sum().item() == GOLDEN[2]
    assert batch["weights"].sum().item() == pytest.approx(GOLDEN[3], rel=1e-6)


def trimmed(row):
    return row[: max(i for i, token in enumerate(row) if token != PAD) + 1]


def test_every_sample_of_the_stream_is_used_once():
    data = batches_of(batches=2 * CHUNK)
    seen = [row for i in range(len(data)) for row in data.step(i).ids_BL.tolist()]
    canvases = [data.canvas(i).ids.tolist() for i in range(2 * CHUNK * 4)]
    assert sorted(map(trimmed, seen)) == sorted(map(trimmed, canvases))


@pytest.mark.parametrize(("epoch", "batch_size", "batches"), [(40, 16, 2), (40, 16, 5), (40, 8, 15), (24, 4, 17)])
def test_a_run_over_epochs_uses_each_sample_as_often_as_another_and_none_twice_in_a_step(epoch, batch_size, batches):
    data = batches_of(batch_size=batch_size, batches=batches, epoch=epoch)
    data.draw = lambda index: BUNDLED.draw("arith", "nap", 3, index % epoch)
    steps = [[canvas.problem_id for canvas in data._chunk(i // CHUNK)[i % CHUNK]] for i in range(batches)]
    assert all(len(step) == batch_size for step in steps)
    counts, least = Counter(name for step in steps for name in step), batches * batch_size // epoch
    assert set(counts.values()) <= {least, least + 1} and (not least or len(counts) == epoch)
    for number in range(least):
        # A step that goes on in the next epoch counts to both.
        begun, ended = number * epoch // batch_size, -(-(number + 1) * epoch // batch_size)
        assert len({name for step in steps[begun:ended] for name in step}) == epoch, "an epoch is without a sample"


def test_a_run_inside_one_epoch_is_the_one_that_earlier_versions_made():
    """Up to its last whole chunk, and to the end of the epoch."""
    endless, inside = batches_of(batches=2 * CHUNK + 3), batches_of(batches=2 * CHUNK + 3, epoch=80)
    assert all(equal(endless[i], inside[i]) for i in range(2 * CHUNK))
    drawn = [{canvas.problem_id for step in data._chunk(2) for canvas in step} for data in (endless, inside)]
    assert len(drawn[1]) == 3 * 4 and drawn[1] < drawn[0], "what no step uses is not drawn"


@pytest.mark.parametrize("index", [0, 7, 8])
def test_prompt_headers_and_padding_outside_are_never_masked_and_outside_is_never_seen(index):
    data = batches_of(batch_size=8)
    batch, step = data[index], data.step(index)
    length = step.ids_BL.shape[1]
    assert batch["input_ids"].shape == (8, length)
    # One mask for all rows where they are equally long.
    hidden_BLL = (batch["attention_mask"][:, 0] < -1e30).expand(8, length, length)
    for row, canvas in enumerate(data._chunk(index // CHUNK)[index % CHUNK]):
        blocked = hidden_BLL[row]
        assert blocked[:, len(canvas) :].all() and not blocked[:, : len(canvas)].any()
        assert (step.region_BL[row, len(canvas) :] == OUTSIDE).all()
    slots = step.region_BL >= 0
    assert slots.sum(dim=1).unique().tolist() == [3 * 30 + 3]
    assert not slots[torch.isin(step.ids_BL, torch.tensor(TAGS))].any()
    changed = batch["input_ids"] != step.ids_BL
    assert torch.equal(changed, step.masked_BL) and not (changed & ~slots).any()
    assert (batch["input_ids"][batch["rows"], batch["positions"]] == MASK).all()
    assert torch.equal(batch["targets"], step.ids_BL[step.masked_BL])


def test_closing_tags_and_padding_inside_a_slot_are_learned():
    data = batches_of(batch_size=32)
    targets = data[0]["targets"]
    assert (targets == PAD).any()
    assert torch.isin(torch.tensor(TOKENIZER.convert_tokens_to_ids(["</think 1>", "</summary>"])), targets).all()


@pytest.mark.parametrize("task", ["arith", "countdown"])
def test_both_canvases_are_trained_on_the_same_trajectories_at_the_same_noise(task):
    nap_batches, long_batches = (batches_of(kind, task=task, batch_size=8) for kind in ("nap", "longcot"))
    tokenizer = nap_batches.tokenizer
    for index in (0, 5):
        one, other = nap_batches.step(index), long_batches.step(index)
        # The same uniform draws reach other positions, since headers stand elsewhere: what is equal is their rate.
        assert one.ids_BL.shape == other.ids_BL.shape
        for row in range(8):
            texts = [read(tokenizer, step.ids_BL[row]) for step in (one, other)]
            assert [texts[0][0], " ; ".join(texts[0][1:-1]), texts[0][-1]] == texts[1]
            assert len(texts[0]) == 5


def read(tokenizer, ids_L):
    """Prompt, paths and summary of a training row."""
    text = tokenizer.decode(ids_L.tolist()).replace("<pad>", " ")
    for number in (1, 2, 3):
        text = text.replace(f"</think {number}>", "").replace(f"<think {number}>", "|")
    text = text.replace("</summary>", "").replace("<summary>", "|")
    return [" ".join(part.split()) for part in text.split("|")]


def test_sorting_by_length_wastes_little_on_padding():
    data = batches_of(batch_size=16, batches=4 * CHUNK)

    def waste(lengths):
        return sum(max(lengths) - length for length in lengths) / (max(lengths) * len(lengths))

    dealt = [waste([len(canvas) for canvas in data._chunk(i // CHUNK)[i % CHUNK]]) for i in range(len(data))]
    drawn = [waste([len(data.canvas(16 * i + j)) for j in range(16)]) for i in range(len(data))]
    assert sum(dealt) / len(dealt) < 0.02 < 3 * sum(dealt) / len(dealt) < sum(drawn) / len(drawn)


def test_batches_do_not_always_come_short_to_long():
    data = batches_of(batch_size=8, batches=8 * CHUNK)
    firsts = [data.step(CHUNK * i).ids_BL.shape[1] for i in range(8)]
    lasts = [data.step(CHUNK * i + CHUNK - 1).ids_BL.shape[1] for i in range(8)]
    assert any(first > last for first, last in zip(firsts, lasts, strict=True))


# Parts


@pytest.mark.parametrize("weight", ["1/t", "cart", "none"])
def test_a_step_in_parts_is_the_same_step(weight):
    """Its rows are the whole step's, and the mean of the parts' losses is its loss."""
    objective = Objective(weight=weight)
    whole, parts = (batches_of(batch_size=8, parts=n, objective=objective) for n in (1, 4))
    assert len(parts) == 4 * len(whole)
    model = tiny_model(TOKENIZER, initializer_range=0.1, attn_implementation="eager")
    for number in (0, 3):
        loss = loss_of(model, whole[number])
        losses = [loss_of(model, parts[4 * number + part]) for part in range(4)]
        torch.testing.assert_close(torch.stack(losses).mean(), loss, atol=1e-5, rtol=1e-5)


def loss_of(model, batch):
    with torch.no_grad():
        logits_BLV = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return masked_loss(logits_BLV[batch["rows"], batch["positions"]], batch["targets"], batch["weights"])


def test_parts_that_do_not_divide_a_batch_are_refused():
    with pytest.raises(InputError, match="4 samples cannot be dealt out in 3 parts"):
        batches_of(batch_size=4, parts=3)


# Layouts


def test_under_parallel_positions_every_path_counts_on_from_the_prompt_and_the_summary_from_the_longest():
    data = batches_of(batch_size=2)
    assert "position_ids" not in data[0]
    data.spec = replace(data.spec, positions="parallel")
    places, region = data[0]["position_ids"][0].numpy(), data.step(0).region_BL[0].numpy()
    prompt = int((region == PROMPT).sum())
    slots = [places[region == code] for code in range(data.spec.paths + 1)]
    assert {int(slot[0]) - prompt for slot in slots[:-1]} == {1}, "behind its header, which stands behind the prompt"
    assert int(slots[-1][0]) == prompt + 1 + data.spec.path_tokens + 1


def test_under_paths_attention_training_hides_the_paths_from_each_other():
    """The loss's input at path 1 moves with the prompt and with itself, and not with path 2 or the summary."""
    data = batches_of(batch_size=2, attention="paths")
    batch, step = data[0], data.step(0)
    model = tiny_model(TOKENIZER, initializer_range=0.5, attn_implementation="eager")
    inside = [torch.nonzero(step.region_BL[0] == code).flatten() for code in (0, 1, 3)]

    def logits_of_path_1(position=None):
        ids_BL = batch["input_ids"].clone()
        if position is not None:
            ids_BL[0, position] = 40
        with torch.no_grad():
            return model(input_ids=ids_BL, attention_mask=batch["attention_mask"]).logits[0, inside[0][5]]

    still = logits_of_path_1()
    assert torch.equal(still, logits_of_path_1(inside[1][3])) and torch.equal(still, logits_of_path_1(inside[2][0]))
    assert not torch.equal(still, logits_of_path_1(0)) and not torch.equal(still, logits_of_path_1(inside[0][7]))


def test_training_reads_in_both_directions_and_not_outside():
    """The logits of the first token move with the last token of its row, and not with what pads the row."""
    model = tiny_model(TOKENIZER, attn_implementation="eager", initializer_range=0.1)
    data = batches_of(batch_size=8)
    number = next(i for i in range(6) if (data.step(i).region_BL == OUTSIDE).any())
    batch, region_BL = data[number], data.step(number).region_BL
    row = int((region_BL[:, -1] == OUTSIDE).nonzero()[0])
    last = int((region_BL[row] != OUTSIDE).sum()) - 1

    def first_logits(position=None):
        ids_BL = batch["input_ids"].clone()
        if position is not None:
            ids_BL[row, position] = 40
        with torch.no_grad():
            return model(input_ids=ids_BL, attention_mask=batch["attention_mask"]).logits[row, 0]

    assert not torch.allclose(first_logits(), first_logits(last), atol=1e-5)
    assert torch.equal(first_logits(), first_logits(-1))


# Samples


def test_paths_are_shuffled_anew_each_time_and_nothing_is_lost():
    sample = Arith().sample(0, 0)
    fixed, shuffled = (batches_of(batches=40, shuffle=shuffle) for shuffle in (False, True))
    for data in (fixed, shuffled):
        data.draw = lambda index: sample
    orders = [tuple(read(TOKENIZER, torch.from_numpy(shuffled.canvas(i).ids))[1:-1]) for i in range(40)]
    (kept,) = {tuple(read(TOKENIZER, torch.from_numpy(fixed.canvas(i).ids))[1:-1]) for i in range(40)}
    assert len(set(orders)) == 6 and {tuple(sorted(order)) for order in orders} == {tuple(sorted(kept))}


def test_a_solution_that_does_not_fit_its_slot_is_an_error_and_is_not_cut():
    spec = CanvasSpec(paths=1, path_tokens=20, summary_tokens=3)
    with pytest.raises(InputError, match=r"takes .* tokens, its slot has 20"):
        lay_out(concatenated(Arith().sample(0, 0)), spec, TOKENIZER, MASK, PAD)
