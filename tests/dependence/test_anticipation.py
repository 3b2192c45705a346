"""The anticipation profile: by hand where it counts, and from a model whose marginals are computed exactly."""

import json
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from nap.common.files import InputError
from nap.dependence.anticipation import (
    AGREEING,
    Context,
    anticipate,
    contexts_of,
    ideal_order,
    of_drawn,
    profile,
)
from nap.dependence.causal import CausalScorer
from nap.dependence.load import open_scorer
from nap.dependence.sampling import Drawn, counted, draw_causal, sampler_of
from nap.dependence.segments import Row
from scorers import save_causal


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    found = open_scorer(str(save_causal(tmp_path_factory.mktemp("causal"))))
    assert isinstance(found, CausalScorer)
    return found


def drawn(columns):
    """Samples whose columns are given."""
    return counted(np.array(columns).T)


FAIR = [0, 1] * 16
SURE = [7] * 32


def test_a_position_that_is_surer_than_the_next_is_written_before_it():
    later = of_drawn(Context(0, 0, ()), drawn([FAIR, SURE]))
    assert (later.first, later.rank, later.order) == (0, 2, 0.5)
    assert later.top_D.tolist() == [0.5, 1.0] and later.entropy_D == pytest.approx([np.log(2), 0])
    sooner = of_drawn(Context(0, 0, ()), drawn([SURE, FAIR]))
    assert (sooner.first, sooner.rank, sooner.order) == (1, 1, 1)


def test_positions_that_are_as_sure_share_the_chance_to_be_first():
    both = of_drawn(Context(0, 0, ()), drawn([SURE, SURE]))
    assert (both.first, both.rank) == (0.5, 1.5)


def test_beyond_the_first_commit_only_samples_that_agree_are_asked():
    # The second position is the surer one; once it is known, the third follows it and the first is known as well.
    second = [0] * 24 + [1] * 24
    first = [0] * 12 + [1] * 12 + [2] * 24
    third = [5] * 24 + [6] * 24
    found = list(ideal_order(Drawn(np.array([first, second, third]).T, np.array([0.5, 0.9, 0.6]), np.zeros(3))))
    assert [place for _, place in found] == [2, 3, 1]
    assert [leftmost for leftmost, _ in found] == [0, 0, 1]
    few = Drawn(np.array([first, second, third]).T[: AGREEING - 1], np.array([0.5, 0.9, 0.6]), np.zeros(3))
    assert list(ideal_order(few)) == []


def test_the_marginal_of_a_model_is_its_exact_one(scorer):
    context = tuple(scorer.encode("the cat"))
    found = draw_causal(scorer, context, 4000, 2, seed=0)
    with torch.no_grad():
        first_V = scorer.model(torch.tensor([context])).logits[0, -1].double().softmax(-1)
        rows = torch.tensor([[*context, token] for token in range(scorer.vocabulary)])
        second_V = first_V @ scorer.model(rows).logits[:, -1].double().softmax(-1)
    for distance, exact_V in enumerate((first_V, second_V)):
        assert found.top_D[distance] == pytest.approx(exact_V.max().item(), rel=0.03)
        assert found.entropy_D[distance] == pytest.approx(torch.special.entr(exact_V).sum().item(), rel=0.01)
    assert found.top_D[0] == pytest.approx(first_V.max().item(), abs=1e-6), "the next position needs no sample"
    share = np.bincount(found.tokens_ND[:, 0], minlength=scorer.vocabulary) / 4000
    assert share == pytest.approx(first_V.numpy(), abs=0.03)
    assert (
        draw_causal(scorer, context, 8, 3, seed=1).tokens_ND == draw_causal(scorer, context, 8, 3, 1).tokens_ND
    ).all()


def test_contexts_are_beginnings_of_the_text_behind_its_prompt(scorer):
    rows = [Row("1", "how?", "because it is so"), Row("2", "", ["one path", "another path"]), Row("3", "", "")]
    found = contexts_of(rows, scorer, each=3, most=100, seed=0)
    assert [one[:2] for one in found] == [(0, 0), (0, 1), (0, 2)] + [(1, draw) for draw in range(3) for _ in range(2)]
    texts = [scorer.tokenizer.decode(one.ids) for one in found]
    assert all("how?\nbecause it is so".startswith(text) and text.startswith("how?\n") for text in texts[:3])
    assert all("one path".startswith(text) and text for text in texts[3::2])
    assert all(len(one.ids) <= 5 for one in contexts_of(rows, scorer, each=3, most=5, seed=0))


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_context_is_never_longer_than_it_may_be_behind_its_first_token(most):
    first = SimpleNamespace(start=(0,), encode=lambda text: tuple(range(1, len(text) + 1)))
    found = contexts_of([Row("1", "", "x" * 200)], cast(Any, first), each=3, most=most, seed=0)
    assert [len(one.ids) for one in found] == [most] * 3 and all(one.cut and one.ids[0] == 0 for one in found)


def test_a_profile_counts_each_row_once_and_several_frontiers_as_one_canvas():
    sure, fair = drawn([SURE, FAIR]), drawn([FAIR, FAIR])
    found = [of_drawn(Context(0, draw, ()), sure) for draw in range(3)] + [of_drawn(Context(1, 0, ()), fair)]
    assert profile(found).first.mean == pytest.approx((1 + 0.5) / 2) and profile(found).first.prompts == 2
    assert profile(found).canvas is None and profile(found).top[1].mean == pytest.approx(0.75)
    two = [of_drawn(Context(0, 0, ()), fair), of_drawn(Context(0, 0, ()), sure)]
    # The other path's frontier is surer: the leftmost of the canvas is not first, though it may be first in its path.
    canvas = profile(two).canvas
    assert canvas is not None and canvas.mean == 0 and profile(two).first.mean == 0.75


def test_what_cannot_be_profiled_is_refused(scorer):
    with pytest.raises(InputError, match="needs 16 samples of 2 tokens at least, got 8 of 4"):
        anticipate(sampler_of(scorer), [], 8, 4)
    with pytest.raises(InputError, match="no row has a token"):
        profile([])


def test_the_command_prints_a_profile_and_one_for_each_group(scorer, tmp_path, capsys):
    from nap.commands.anticipate import Anticipate
    from nap.commands.seqdep import Opening

    file = tmp_path / "c.jsonl"
    rows = [{"prompt": "how?", "text": "because it is so", "kind": kind} for kind in ("maths", "prose")]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options: dict[str, Any] = {
        "opening": Opening(scorer=scorer.name),
        "contexts": 2,
        "samples": 16,
        "distance": 4,
        "by": "kind",
    }
    Anticipate(file=str(file), json=True, **options).run()
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"all", "maths", "prose"} and found["all"]["contexts"] == 4
    assert set(found["all"]["top"]) == {"1", "2", "4"} and 0 <= found["all"]["order"]["mean"] <= 1
    Anticipate(file=str(file), **options).run()
    assert "maths" in capsys.readouterr().out
    cut = [*rows, {"text": None, "kind": "none"}, {"text": "because it is so " * 2000, "kind": "long"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in cut))
    Anticipate(file=str(file), json=True, **options).run()
    found = json.loads(capsys.readouterr().out)["all"]
    assert (found["left_out"], found["shortened"], found["contexts"]) == (1, 2, 6)
    Anticipate(file=str(file), **options).run()
    said = " ".join(capsys.readouterr().out.split())
    assert "left out for having no text: 1 rows; cut at the start to" in said and "tokens: 2 contexts" in said
    file.write_text("".join(json.dumps(row | {"kind": "all"}) + "\n" for row in rows[:1]) + json.dumps(rows[1]))
    with pytest.raises(InputError, match=r"1 rows of .* have 'all' in the field 'kind', which is the name of all rows"):
        Anticipate(file=str(file), **options).run()
    options["by"] = "domain"
    with pytest.raises(InputError, match=r"no row of .* has the field 'domain'"):
        Anticipate(file=str(file), **options).run()
    options["contexts"] = 0
    with pytest.raises(InputError, match="--contexts must be at least 1"):
        Anticipate(file=str(file), **options).run()
