"""The loss is the closed form, masking keeps to its slots, and neither a batch nor a resumed run knows the past."""

import math
import shutil
from functools import partial

import pytest
import torch

import nap.train
from nap.canvas import CanvasSpec
from nap.loss import mask_tokens, masked_loss, stratified_times
from nap.optim import Muon, muon_for
from nap.schema import OUTSIDE, concatenated
from nap.tasks.arith import Arith
from nap.train import CHUNK, DiffusionBatches, train
from tiny import recipe, tiny_model

BUNDLED = recipe("bundled")
TOKENIZER = BUNDLED.build_tokenizer("arith")
PAD, MASK = TOKENIZER.pad_token_id, TOKENIZER.mask_token_id


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# The loss


def test_the_loss_of_a_model_that_knows_nothing_is_log_v_weighed_by_one_over_t():
    """Row 1 has 2 of 3 tokens masked at t = .5, row 2 has 1 of 2 at t = .25: (2 / .5 + 1 / .25) / 5 times log V."""
    masked_BL = torch.tensor([[True, False, True], [False, True, False]])
    maskable_BL = torch.tensor([[True, True, True], [False, True, True]])
    loss = masked_loss(torch.zeros(2, 3, 7), torch.ones(2, 3).long(), masked_BL, maskable_BL, torch.tensor([0.5, 0.25]))
    assert loss.item() == pytest.approx(8 / 5 * math.log(7))


def test_the_loss_is_the_cross_entropy_of_the_masked_tokens_and_of_no_other():
    probability_BLV = torch.tensor([[[0.7, 0.2, 0.1], [0.25, 0.5, 0.25], [0.1, 0.1, 0.8]]])
    logits_BLV = probability_BLV.log().requires_grad_()
    masked_BL = torch.tensor([[True, True, False]])
    args = (torch.tensor([[1, 1, 0]]), masked_BL, torch.ones(1, 3).bool(), torch.tensor([0.4]))
    loss = masked_loss(logits_BLV, *args)
    assert loss.item() == pytest.approx(-(math.log(0.2) + math.log(0.5)) / 0.4 / 3)
    loss.backward()
    # d CE / d logits is p - onehot, at the masked positions only.
    expected = probability_BLV - torch.tensor([[[0, 1, 0], [0, 1, 0], [0, 0, 0]]])
    torch.testing.assert_close(logits_BLV.grad, expected * masked_BL[..., None] / 0.4 / 3)


def test_sixteen_bit_logits_are_summed_in_32():
    logits = torch.randn(2, 8, 50, generator=generator()).bfloat16()
    args = (torch.zeros(2, 8).long(), torch.ones(2, 8).bool(), torch.ones(2, 8).bool(), torch.ones(2))
    assert masked_loss(logits, *args).dtype == torch.float32
    assert masked_loss(logits, *args) == masked_loss(logits.float(), *args)


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_noise_levels_cover_their_strata_in_random_order(batch):
    draws = torch.stack([stratified_times(batch, generator(seed)) for seed in range(200)])
    assert (draws >= 1e-3).all() and (draws < 1).all()
    strata = ((draws - 1e-3) / (1 - 1e-3) * batch).floor()
    assert (strata.sort(dim=1).values == torch.arange(batch)).all()
    # Each row meets low and high levels: its mean over the draws is far from any one stratum's.
    assert (draws.mean(dim=0) - 0.5).abs().max() < 0.1


def test_each_maskable_token_is_masked_at_the_rate_of_its_row_and_nothing_else_ever():
    ids_BL = torch.arange(3 * 40_000).view(3, -1) + 10
    maskable_BL = torch.rand(ids_BL.shape, generator=generator(1)) < 0.7
    t_B = torch.tensor([0.1, 0.5, 0.999])
    noisy_BL, masked_BL = mask_tokens(ids_BL, maskable_BL, t_B, MASK, generator())
    assert not (masked_BL & ~maskable_BL).any()
    assert (noisy_BL[masked_BL] == MASK).all() and (noisy_BL[~masked_BL] == ids_BL[~masked_BL]).all()
    rate_B = masked_BL.sum(dim=1) / maskable_BL.sum(dim=1)
    torch.testing.assert_close(rate_B, t_B, atol=0.01, rtol=0)


def test_the_weights_make_every_noise_level_count_the_same():
    """E[masked / t] is 1 at every t, so the loss of a model that knows nothing is log V whatever is drawn."""
    losses = []
    for seed in range(300):
        g = generator(seed)
        t_B, ids_BL = stratified_times(8, g), torch.zeros(8, 50).long()
        _, masked_BL = mask_tokens(ids_BL, ids_BL == 0, t_B, MASK, g)
        losses.append(masked_loss(torch.zeros(8, 50, 11), ids_BL, masked_BL, ids_BL == 0, t_B).item())
    assert sum(losses) / 300 == pytest.approx(math.log(11), rel=0.02)


# Batches


def batches_of(kind="nap", *, task="arith", batch_size=4, batches=6, seed=3):
    tokenizer = BUNDLED.build_tokenizer(task)
    return DiffusionBatches(
        partial(BUNDLED.draw, task, kind, seed), BUNDLED.canvas_of(task, kind), tokenizer,
        mask_id=tokenizer.mask_token_id, pad_id=tokenizer.pad_token_id, batch_size=batch_size, batches=batches,
        seed=seed,
    )  # fmt: skip


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_batch_depends_on_seed_and_index_and_on_nothing_that_ran_before():
    forwards, backwards = batches_of(batches=20), batches_of(batches=20)
    wanted = [forwards[i] for i in range(20)]
    torch.manual_seed(99)
    assert all(equal(wanted[i], backwards[i]) for i in (19, 3, 3, 11, 0))
    assert not any(equal(wanted[0], other) for other in (wanted[1], wanted[8], batches_of(seed=4)[0]))


def test_every_sample_of_the_stream_is_used_once():
    data = batches_of(batches=2 * CHUNK)
    seen = [row for i in range(len(data)) for row in data[i]["labels"].tolist()]
    canvases = [data._lay_out(data.draw(i)).ids.tolist() for i in range(2 * CHUNK * 4)]
    unpadded = sorted(row[: max(i for i, token in enumerate(row) if token != PAD) + 1] for row in seen)
    assert unpadded == sorted(row[: max(i for i, t in enumerate(row) if t != PAD) + 1] for row in canvases)


@pytest.mark.parametrize("index", [0, 7, 8])
def test_prompt_headers_and_padding_outside_are_never_masked_and_outside_is_never_seen(index):
    data = batches_of(batch_size=8)
    batch = data[index]
    length = batch["labels"].shape[1]
    for name in ("input_ids", "masked", "maskable"):
        assert batch[name].shape == (8, length)
    assert batch["attention_mask"].shape == (8, 1, length, length) and batch["t"].shape == (8,)
    tags = TOKENIZER.convert_tokens_to_ids(["<think 1>", "<think 2>", "<think 3>", "<summary>"])
    slots = torch.ones_like(batch["maskable"])
    for row, canvas in zip(range(8), data._chunk(index // CHUNK)[index % CHUNK], strict=True):
        outside = length - len(canvas)
        slots[row, : len(canvas)] = torch.from_numpy(canvas.region >= 0)
        slots[row, len(canvas) :] = False
        blocked = batch["attention_mask"][row, 0] < -1e30
        assert blocked[:, len(canvas) :].all() and not blocked[:, : len(canvas)].any() and outside == blocked[0].sum()
    assert torch.equal(batch["maskable"], slots)
    assert batch["maskable"].sum(dim=1).unique().tolist() == [3 * 30 + 3]
    assert not batch["maskable"][torch.isin(batch["labels"], torch.tensor(tags))].any()
    changed = batch["input_ids"] != batch["labels"]
    assert torch.equal(changed, batch["masked"]) and not (changed & ~slots).any()
    assert (batch["input_ids"][batch["masked"]] == MASK).all()


@pytest.mark.parametrize("task", ["arith", "countdown"])
def test_both_canvases_are_trained_on_the_same_trajectories_at_the_same_noise(task):
    nap_batches, long_batches = (batches_of(kind, task=task, batch_size=8) for kind in ("nap", "longcot"))
    tokenizer = nap_batches.tokenizer
    for index in (0, 5):
        one, other = nap_batches[index], long_batches[index]
        assert torch.equal(one["t"], other["t"]) and one["labels"].shape == other["labels"].shape
        for row in range(8):
            texts = [read(tokenizer, batch, row) for batch in (one, other)]
            assert [texts[0][0], " ; ".join(texts[0][1:-1]), texts[0][-1]] == texts[1]
            assert len(texts[0]) == 5


def read(tokenizer, batch, row):
    """Prompt, paths and summary of a training row."""
    text = tokenizer.decode(batch["labels"][row].tolist()).replace("<pad>", " ")
    for number in (1, 2, 3):
        text = text.replace(f"</think {number}>", "").replace(f"<think {number}>", "|")
    text = text.replace("</summary>", "").replace("<summary>", "|")
    return [" ".join(part.split()) for part in text.split("|")]


def test_sorting_by_length_wastes_little_on_padding():
    data = batches_of(batch_size=16, batches=4 * CHUNK)

    def waste(lengths):
        return sum(max(lengths) - length for length in lengths) / (max(lengths) * len(lengths))

    dealt = [waste([len(canvas) for canvas in data._chunk(i // CHUNK)[i % CHUNK]]) for i in range(len(data))]
    drawn = [waste([len(data._lay_out(data.draw(16 * i + j))) for j in range(16)]) for i in range(len(data))]
    assert sum(dealt) / len(dealt) < 0.02 < 3 * sum(dealt) / len(dealt) < sum(drawn) / len(drawn)


def test_batches_do_not_always_come_short_to_long():
    data = batches_of(batch_size=8, batches=8 * CHUNK)
    firsts = [data[CHUNK * i]["labels"].shape[1] for i in range(8)]
    lasts = [data[CHUNK * i + CHUNK - 1]["labels"].shape[1] for i in range(8)]
    assert any(first > last for first, last in zip(firsts, lasts, strict=True))


def test_a_solution_that_does_not_fit_its_slot_is_an_error_and_is_not_cut():
    spec = CanvasSpec(paths=1, path_tokens=20, summary_tokens=3)
    data = DiffusionBatches(
        lambda index: concatenated(Arith().sample(0, index)), spec, TOKENIZER, mask_id=MASK, pad_id=PAD, batch_size=4,
        batches=1, seed=0,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"takes .* tokens, its slot has 20"):
        data[0]


# Training


class Killed(BaseException):
    """Ends a training at once, as a kill does."""


@pytest.fixture
def losses(monkeypatch):
    """Every loss that is computed; `losses.kill_at` is the index of one that is not survived."""

    class Losses(list):
        kill_at = None

    seen = Losses()

    def recorded(*args):
        if len(seen) == seen.kill_at:
            raise Killed
        seen.append(masked_loss(*args))
        return seen[-1]

    monkeypatch.setattr(nap.train, "masked_loss", recorded)
    return seen


def run(folder, **changes):
    model = tiny_model(TOKENIZER, seed=changes.pop("init", 0), initializer_range=0.1, attn_implementation="eager")
    rates = {"learning_rate": 1e-2, "matrix_learning_rate": 2e-2}
    settings = rates | {"seed": 0, "bf16": False, "save_steps": 3, "compile": False} | changes
    return train(model, batches_of(), folder, **settings).state_dict()


def test_a_killed_training_resumes_to_the_same_losses_and_weights_bit_by_bit(tmp_path, losses):
    whole = run(tmp_path / "whole")
    expected = [loss.item() for loss in losses]
    assert len(expected) == 6 and expected[-1] < expected[0]

    losses.clear()
    losses.kill_at = 4
    with pytest.raises(Killed):
        run(tmp_path / "killed")
    # Killed in the middle of writing another checkpoint, too.
    shutil.copytree(tmp_path / "killed/checkpoint-3", tmp_path / "killed/checkpoint-4")
    (tmp_path / "killed/checkpoint-4/trainer_state.json").unlink()
    (tmp_path / "killed/checkpoint-4/model.safetensors").write_bytes(b"cut")

    losses.clear()
    losses.kill_at = None
    resumed = run(tmp_path / "killed", init=1)  # what it starts from does not matter
    assert [loss.item() for loss in losses] == expected[3:]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_trainer_and_its_seed_change_no_batch(tmp_path, losses):
    """Its own generators are not asked for anything."""
    run(tmp_path / "one")
    first = [loss.item() for loss in losses]
    losses.clear()
    run(tmp_path / "other", seed=1)
    assert [loss.item() for loss in losses] == first


def test_training_reads_in_both_directions_and_not_outside():
    """The loss of the first token moves with the last token of its row, and not with what pads the row."""
    model = tiny_model(TOKENIZER, attn_implementation="eager", initializer_range=0.1)
    data = batches_of(batch_size=8)
    batch = next(b for b in (data[i] for i in range(6)) if (b["attention_mask"][:, 0, 0, -1] < 0).any())
    row = int((batch["attention_mask"][:, 0, 0, -1] < 0).nonzero()[0])
    last = int((batch["attention_mask"][row, 0, 0] == 0).sum()) - 1

    def first_logits(position=None):
        ids = batch["input_ids"].clone()
        if position is not None:
            ids[row, position] = 40
        with torch.no_grad():
            return model(input_ids=ids, attention_mask=batch["attention_mask"]).logits[row, 0]

    assert not torch.allclose(first_logits(), first_logits(last), atol=1e-5)
    assert torch.equal(first_logits(), first_logits(-1))
    assert OUTSIDE not in batch["labels"]


def test_muon_takes_torchs_steps_up_to_bfloat16_and_adamws_exactly() -> None:
    torch.manual_seed(0)
    for shape in ((16, 16), (48, 16), (16, 48), (20,)):
        ours, theirs = (torch.nn.Parameter(torch.linspace(-1, 1, math.prod(shape)).view(shape)) for _ in range(2))
        matrix = len(shape) == 2
        mine = Muon([{"params": [ours], "lr": 0.02, "weight_decay": 0.01, "matrix": matrix}])
        reference = (
            torch.optim.Muon([theirs], lr=0.02, weight_decay=0.01, momentum=0.95)
            if matrix
            else torch.optim.AdamW([theirs], lr=0.02, weight_decay=0.01, betas=(0.9, 0.98))
        )
        start = ours.detach().clone()
        for _ in range(4):
            ours.grad = torch.randn(shape)
            theirs.grad = ours.grad.clone()
            mine.step()
            reference.step()
        moved = (ours - start).abs().max()
        assert (ours - theirs).abs().max() < (0.03 if matrix else 1e-5) * moved


def test_muon_leaves_embeddings_head_and_norms_to_adamw() -> None:
    matrices, rest = muon_for(tiny_model(TOKENIZER), 1e-3, 1e-2).param_groups
    assert matrices["matrix"] and not rest["matrix"]
    assert {p.ndim for p in matrices["params"]} == {2}
    assert len(matrices["params"]) + len(rest["params"]) == len(list(tiny_model(TOKENIZER).parameters()))
    assert any(p.ndim == 2 for p in rest["params"])
