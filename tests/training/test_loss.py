"""Masking keeps to its slots, and every weight and normalisation gives its closed form on fixed tensors."""

import math

import pytest
import torch

from nap.common.files import InputError
from nap.data.trace import HEADER, OUTSIDE, PROMPT
from nap.training.loss import (
    LOWEST,
    draw_times,
    loss_weights,
    mask_tokens,
    masked_loss,
    noise_of,
    stratified_times,
)
from nap.training.settings import Hyper, Objective, Watch

MASK = 99
# Two rows of two paths (of 2 and 3 tokens) and a summary of 2; the second is a token shorter.
REGION_BL = torch.tensor(
    [[PROMPT, HEADER, 0, 0, HEADER, 1, 1, 1, 2, 2], [PROMPT, HEADER, 0, 0, HEADER, 1, 1, 2, 2, OUTSIDE]]
)
SLOTS = 3


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def flat_noise(t_B, region_BL):
    """Plain masking at one level a row."""
    return noise_of(region_BL, torch.tensor(t_B)[:, None].expand(-1, SLOTS), Objective())


def know_nothing(weight_BL, masked_BL, vocabulary=7):
    """The loss where every token has the same probability: log V times the weights."""
    weight_N = weight_BL[masked_BL]
    return masked_loss(torch.zeros(len(weight_N), vocabulary), torch.ones(len(weight_N)).long(), weight_N)


# Two rows; 2 of 3 tokens masked at t = .5, and 1 of 2 at t = .25.
TWO_ROWS = torch.tensor([[0, 0, 0], [OUTSIDE, 0, 0]])
TWO_MASKS = torch.tensor([[True, False, True], [False, True, False]])


@pytest.mark.parametrize(
    ("normalise", "expected"),
    [
        ("token", (2 / 0.5 + 1 / 0.25) / 5),
        ("sequence", ((2 / 0.5) / 3 + (1 / 0.25) / 2) / 2),
        ("batch", (2 / 0.5 + 1 / 0.25) / 2),
    ],
)
def test_one_over_t_gives_the_closed_form_of_each_normalisation(normalise, expected):
    noise = flat_noise([0.5, 0.25], TWO_ROWS)
    weight_BL = loss_weights(TWO_ROWS, TWO_MASKS, noise, Objective(normalise=normalise))
    assert know_nothing(weight_BL, TWO_MASKS).item() == pytest.approx(expected * math.log(7))


@pytest.mark.parametrize(
    ("normalise", "expected"), [("token", 3 / 5), ("sequence", (2 / 3 + 1 / 2) / 2), ("batch", 3 / 2)]
)
def test_no_weight_counts_each_masked_token_once(normalise, expected):
    objective = Objective(weight="none", normalise=normalise)
    weight_BL = loss_weights(TWO_ROWS, TWO_MASKS, flat_noise([0.5, 0.25], TWO_ROWS), objective)
    assert weight_BL.sum().item() == pytest.approx(expected)


def test_linear_weighs_by_what_is_seen():
    objective = Objective(weight="linear", normalise="batch")
    weight_BL = loss_weights(TWO_ROWS, TWO_MASKS, flat_noise([0.5, 0.25], TWO_ROWS), objective)
    torch.testing.assert_close(weight_BL, torch.tensor([[0.5, 0, 0.5], [0, 0.75, 0]]) / 2)


def test_cart_sums_a_geometric_kernel_over_what_is_seen_and_divides_by_what_is_masked():
    """Row: prompt, masked, seen, masked, outside. Distances of the masked to the seen: 1, 1 and 3, 1."""
    region_BL = torch.tensor([[PROMPT, 0, 0, 0, OUTSIDE]])
    masked_BL = torch.tensor([[False, True, False, True, False]])
    noise = flat_noise([0.5], region_BL)
    weight_BL = loss_weights(region_BL, masked_BL, noise, Objective(weight="cart"))
    first, second = 0.05 * (1 + 1), 0.05 * (0.9**2 + 1)
    torch.testing.assert_close(weight_BL, torch.tensor([[0, first, 0, second, 0]]) / 2)


def test_every_weight_is_zero_where_nothing_is_masked_and_finite_where_all_is():
    for weight in ("1/t", "cart", "linear", "none"):
        for normalise in ("token", "sequence", "batch"):
            objective = Objective(weight=weight, normalise=normalise)
            for masked_BL in (torch.zeros_like(REGION_BL).bool(), REGION_BL >= 0):
                weight_BL = loss_weights(REGION_BL, masked_BL, flat_noise([LOWEST, 1.0], REGION_BL), objective)
                assert weight_BL.isfinite().all() and (weight_BL[~masked_BL] == 0).all()


def test_the_loss_is_the_cross_entropy_of_the_masked_tokens_and_its_gradient_is_p_less_onehot():
    probability_NV = torch.tensor([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25]])
    logits_NV = probability_NV.log().requires_grad_()
    weight_N = torch.tensor([0.5, 2.0])
    loss = masked_loss(logits_NV, torch.tensor([1, 1]), weight_N)
    assert loss.item() == pytest.approx(-(0.5 * math.log(0.2) + 2 * math.log(0.5)))
    loss.backward()
    onehot = torch.tensor([[0, 1, 0], [0, 1, 0]])
    torch.testing.assert_close(logits_NV.grad, (probability_NV - onehot) * weight_N[:, None])


def test_a_batch_without_masks_costs_nothing_and_still_has_a_gradient():
    states = torch.zeros(0, 3, requires_grad=True)
    loss = masked_loss(states @ torch.eye(3), torch.zeros(0).long(), torch.zeros(0))
    loss.backward()
    assert loss.item() == 0 and states.grad is not None


def test_sixteen_bit_logits_are_summed_in_32():
    logits_NV = torch.randn(16, 50, generator=generator()).bfloat16()
    args = (torch.zeros(16).long(), torch.ones(16))
    assert masked_loss(logits_NV, *args).dtype == torch.float32
    assert masked_loss(logits_NV, *args) == masked_loss(logits_NV.float(), *args)


# Noise levels


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_noise_levels_cover_their_strata_in_random_order(batch):
    draws = torch.stack([stratified_times(batch, generator(seed)) for seed in range(200)])
    assert (draws >= 1e-3).all() and (draws < 1).all()
    strata = ((draws - 1e-3) / (1 - 1e-3) * batch).floor()
    assert (strata.sort(dim=1).values == torch.arange(batch)).all()
    # Each row meets low and high levels: its mean over the draws is far from any one stratum's.
    assert (draws.mean(dim=0) - 0.5).abs().max() < 0.1


def test_the_slots_of_a_row_share_a_level_or_have_their_own():
    shared_BR = draw_times(64, SLOTS, Objective(), generator())
    own_BR = draw_times(64, SLOTS, Objective(times="path"), generator())
    assert (shared_BR == shared_BR[:, :1]).all()
    assert torch.corrcoef(own_BR.T).fill_diagonal_(0).abs().max() < 0.5
    # Of each slot, too, the levels of a batch are one a stratum.
    assert ((own_BR * 64).floor().sort(dim=0).values == torch.arange(64)[:, None]).float().mean() > 0.95


def test_a_power_below_one_masks_more():
    plain_BR, squared_BR = (draw_times(8, 1, Objective(power=power), generator()) for power in (1.0, 0.5))
    torch.testing.assert_close(squared_BR, plain_BR.sqrt())


def test_independent_levels_reach_the_tokens_of_their_own_slot():
    t_BR = torch.tensor([[0.1, 0.5, 0.9], [0.2, 0.4, 0.6]])
    noise = noise_of(REGION_BL, t_BR, Objective(times="path"))
    expected = [[0, 0, 0.1, 0.1, 0, 0.5, 0.5, 0.5, 0.9, 0.9], [0, 0, 0.2, 0.2, 0, 0.4, 0.4, 0.6, 0.6, 0]]
    torch.testing.assert_close(noise.rate_BL, torch.tensor(expected))


def test_structured_masking_hides_the_summary_until_the_noise_is_low():
    """NAP's code: r = .9 t; a path's token r (1 + kappa z); the summary 1 while 1 - t < .8, else r (1 + z)."""
    objective = Objective(masking="structured", kappa=1.0)
    noise = noise_of(REGION_BL, torch.tensor([[0.5] * 3, [0.1] * 3]), objective)
    r = 0.9 * 0.5
    torch.testing.assert_close(noise.rate_BL[0], torch.tensor([0, 0, r, 2 * r, 0, r, 1.5 * r, 2 * r, 1, 1]))
    r = 0.9 * 0.1
    torch.testing.assert_close(noise.rate_BL[1], torch.tensor([0, 0, r, 2 * r, 0, r, 2 * r, r, 2 * r, 0]))


def test_one_over_t_of_structured_masking_is_one_over_the_tokens_own_rate():
    objective = Objective(masking="structured", kappa=0.5, normalise="batch")
    noise = noise_of(REGION_BL, torch.full((2, SLOTS), 0.15), objective)
    slots = REGION_BL >= 0
    weight_BL = loss_weights(REGION_BL, slots, noise, objective)
    torch.testing.assert_close(weight_BL[slots] * noise.rate_BL[slots], torch.full((int(slots.sum()),), 0.5))


# Masks


def test_each_token_is_masked_at_its_own_rate_and_prompt_headers_and_outside_never():
    region_BL = REGION_BL.repeat_interleave(8000, dim=1)
    ids_BL = torch.arange(region_BL.numel()).view(region_BL.shape) + 100
    t_BR = torch.tensor([[0.1, 0.5, 0.999], [0.3, 0.7, 0.9]])
    noise = noise_of(region_BL, t_BR, Objective(times="path"))
    noisy_BL, masked_BL = mask_tokens(ids_BL, noise.rate_BL, MASK, generator())
    assert not masked_BL[region_BL < 0].any()
    assert (noisy_BL[masked_BL] == MASK).all() and (noisy_BL[~masked_BL] == ids_BL[~masked_BL]).all()
    for row in range(2):
        for slot in range(SLOTS):
            rate = masked_BL[row][region_BL[row] == slot].float().mean().item()
            assert rate == pytest.approx(t_BR[row, slot].item(), abs=0.015)


def test_the_same_generator_gives_the_same_masks():
    rate_BL = torch.full((4, 50), 0.5)
    one, same, other = (mask_tokens(rate_BL.long(), rate_BL, MASK, generator(seed)).masked_BL for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize("masking", ["plain", "structured"])
@pytest.mark.parametrize("times", ["row", "path"])
def test_one_over_t_makes_every_noise_level_count_the_same(masking, times):
    """E[masked / rate] is 1 at every rate, so the loss of a model that knows nothing is log V in the mean."""
    objective = Objective(masking=masking, times=times)
    region_BL = torch.arange(SLOTS).repeat_interleave(40).expand(8, -1)
    losses = []
    for seed in range(200):
        g = generator(seed)
        noise = noise_of(region_BL, draw_times(8, SLOTS, objective, g), objective)
        masked_BL = mask_tokens(torch.zeros_like(region_BL), noise.rate_BL, MASK, g).masked_BL
        losses.append(know_nothing(loss_weights(region_BL, masked_BL, noise, objective), masked_BL).item())
    assert sum(losses) / len(losses) == pytest.approx(math.log(7), rel=0.03)


# Bad settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": "1/T"}, "unknown weight '1/T'; did you mean '1/t'. known: 1/t, cart, linear, none"),
        ({"normalise": "tokens"}, "unknown normalise"),
        ({"masking": "block"}, "unknown masking"),
        ({"times": "slot"}, "unknown times"),
        ({"power": 0.0}, "power must be above 0"),
        ({"power": math.inf}, "power must be above 0"),
        ({"kappa": -1.0}, "kappa must be 0 or more"),
        ({"kappa": 0.5}, "changes nothing with plain masking"),
    ],
)
def test_a_setting_that_is_wrong_or_would_change_nothing_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Objective(**settings)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (Hyper, {"matrix_learning_rate": 0.1}, r"matrix_learning_rate 0\.1 changes nothing with optimizer adamw"),
        (Watch, {"eval_data": "p.jsonl"}, "eval_data changes nothing without eval_task"),
        (Watch, {"eval_every": 5}, "eval_every changes nothing without eval_task"),
        (Watch, {"eval_policy": "ar"}, "eval_policy changes nothing without eval_task"),
    ],
)
def test_a_setting_of_what_is_not_asked_for_is_refused(kind, settings, message):
    with pytest.raises(InputError, match=message):
        kind(**settings)
