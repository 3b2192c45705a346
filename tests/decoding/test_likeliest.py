"""The candidate of a position is the first of its likeliest tokens, however many tokens there are."""

import pytest
import torch

from nap.decoding.candidates import GROUP, likeliest


@pytest.mark.parametrize("vocabulary", [1, GROUP - 1, GROUP, 5 * GROUP, 5 * GROUP + 1])
@pytest.mark.parametrize("rows", [0, 1, 7])
def test_it_is_the_first_of_the_largest(vocabulary, rows):
    """Of few values, so that most rows have several, with masks that are no candidates."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(0, 4, (rows, vocabulary), generator=generator).float()
    logits[:, 0] = -torch.inf
    first = [min(range(vocabulary), key=lambda token, row=row: (-row[token], token)) for row in logits.tolist()]
    assert likeliest(logits).tolist() == first
