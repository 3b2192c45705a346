"""Each policy does what its formula says (docs/papers.md), against brute force or by hand."""

import dataclasses
import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from nap.common.files import InputError
from nap.decoding.policies.bounded import EntropyBound, Factor, Threshold
from nap.decoding.policies.ordered import AR, Entropy, Hierarchy, LowConfidence, Margin, Random
from nap.decoding.policies.own import of_file
from nap.decoding.policies.paths import ParallelEntropyBound, ParallelForced, ParallelThreshold
from nap.decoding.policies.policy import RowView, Said, best
from nap.decoding.policies.registry import POLICIES, parse_policy, policy_name

chances = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=9)
entropies = st.lists(st.floats(0.0, 10.0), min_size=1, max_size=9)


def view(probability=(), *, entropy=(), margin=(), position=None, region=None, paths=1, step=0, quota=1, seed=0):
    """(row, said): a row told only what the policy reads; positions 0, 1, ... of one path unless said otherwise."""
    count = max(map(len, (probability, entropy, margin, region or ())))
    position_N = np.arange(count) if position is None else np.array(position)
    length = int(position_N.max()) + 1
    region_L = np.zeros(length, np.int64)
    region_L[position_N] = region if region is not None else 0
    row = RowView(
        ids_L=np.zeros(length, np.int64), region_L=region_L, block_L=np.zeros(length, np.int64),
        step_L=np.full(length, -1), confidence_L=np.full(length, np.nan), masked_N=position_N, open_N=position_N,
        paths=paths, mask_id=0, step=step, quota=quota, rng=np.random.default_rng(seed),
    )  # fmt: skip
    columns = {"entropy": np.array(entropy, np.float64), "margin": np.array(margin, np.float64)}
    chance_N = np.array(probability if len(probability) else [0.5] * count, np.float64)
    return row, Said(position_N, np.ones(count, np.int64), chance_N, columns.__getitem__)


def chosen(policy, seen):
    """What it commits, in its order, of what it asks about: indices into the view."""
    row, said = seen
    kept = np.searchsorted(row.open_N, policy.ask(row))
    columns = {name: said._compute(name)[kept] for name in ("entropy", "margin") if len(said._compute(name))}
    told = Said(said.position_N[kept], said.token_N[kept], said.model_N[kept], columns.__getitem__)
    edits = policy.act(row, told)
    assert len(set(edits.position_N.tolist())) == len(edits.position_N) and (edits.token_N != row.mask_id).all()
    return np.searchsorted(row.open_N, edits.position_N).tolist()


def test_best_is_highest_first_and_leftmost_of_equals():
    assert best(np.array([0.2, 0.9, 0.9, 0.5]), 3).tolist() == [1, 2, 3]
    assert best(np.array([0.2]), 5).tolist() == [0]


# Paced


@pytest.mark.parametrize(("quota", "expected"), [(1, [0]), (3, [0, 1, 2]), (9, [0, 1, 2, 3])])
def test_ar_takes_the_leftmost(quota, expected):
    assert chosen(AR(), view([0.1, 0.9, 0.9, 0.9], quota=quota)) == expected


@pytest.mark.parametrize(
    ("policy", "column"), [(LowConfidence(), "probability"), (Entropy(), "entropy"), (Margin(), "margin")]
)
@given(scores=st.lists(st.integers(0, 9), min_size=1, max_size=9), quota=st.integers(1, 10))
def test_low_confidence_entropy_and_margin_rank_by_their_own_column(policy, column, scores, quota):
    # The other columns say the opposite.
    others: dict[str, Any] = {name: [9.0 - s for s in scores] for name in ("probability", "margin")} | {
        "entropy": [float(s) for s in scores]
    }
    own: dict[str, Any] = {column: [9.0 - s for s in scores] if column == "entropy" else [float(s) for s in scores]}
    ranked = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    assert chosen(policy, view(**(others | own), quota=quota)) == ranked[:quota]


def test_random_is_uniform_over_sets_of_positions():
    counts = Counter(tuple(chosen(Random(), view([0.5] * 5, quota=2, seed=seed))) for seed in range(2000))
    assert set(counts) == set(itertools.combinations(range(5), 2))
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_random_goes_on_with_its_own_generator():
    one = view([0.5] * 50, quota=5)
    assert chosen(Random(), one) != chosen(Random(), one)


# At their own pace


@given(chances, st.floats(0, 1))
def test_threshold_takes_all_at_or_above_tau_and_at_least_one(probability, tau):
    above = [i for i, c in enumerate(probability) if c >= tau]
    expected = above or [int(np.argmax(probability))]
    assert sorted(chosen(Threshold(tau=tau), view(probability))) == expected


@given(chances, st.floats(0, 5))
def test_factor_takes_the_largest_n_with_n_plus_1_times_1_minus_c_n_below_f(probability, f):
    ranked = sorted(range(len(probability)), key=lambda i: (-probability[i], i))
    fits = [n for n in range(1, len(ranked) + 1) if (n + 1) * (1 - probability[ranked[n - 1]]) < f]
    assert chosen(Factor(f=f), view(probability)) == ranked[: max(fits, default=1)]


@pytest.mark.parametrize(
    ("probability", "count"),
    [([0.99, 0.9, 0.7], 2), ([0.99, 0.9, 0.76], 3), ([0.4, 0.4], 1), ([0.5], 1), ([1.0] * 4, 4)],
)
def test_factor_by_hand(probability, count):
    assert len(chosen(Factor(), view(probability))) == count


@given(entropies, st.floats(0, 20))
def test_entropy_bound_takes_the_longest_prefix_with_sum_minus_maximum_at_most_gamma(entropy, gamma):
    ranked = sorted(range(len(entropy)), key=lambda i: (entropy[i], i))
    fits = [
        n
        for n in range(1, len(ranked) + 1)
        # All but the last, which is the largest: the sum without it is exactly sum - max, without its rounding.
        if np.cumsum([0.0, *(entropy[i] for i in ranked[: n - 1])])[-1] <= gamma
    ]
    assert chosen(EntropyBound(gamma=gamma), view(entropy=entropy)) == ranked[: max(fits)]


@given(entropies, st.floats(0, 20))
def test_entropy_bound_keeps_within_its_bound_and_one_more_would_not(entropy, gamma):
    taken = chosen(EntropyBound(gamma=gamma), view(entropy=entropy))

    def excess(count):
        first = sorted(entropy)[:count]
        return sum(first) - max(first)

    assert len(taken) >= 1 and excess(len(taken)) <= gamma + 1e-9
    assert len(taken) == len(entropy) or excess(len(taken) + 1) > gamma - 1e-9


@pytest.mark.parametrize(
    ("position", "region", "expected"),
    [
        ([3, 4, 5], [0, 0, 0], [1]),
        ([3, 4, 6, 7], [0, 0, 0, 0], [1, 2]),
        ([3, 5, 7], [0, 0, 0], [0, 1, 2]),
        ([3, 4, 5, 6], [0, 0, 1, 1], [1, 2]),  # slots without headers between them
        ([3, 4, 5, 6], [0, 0, 1, 2], [1, 2, 3]),
    ],
)
def test_hierarchy_takes_the_best_of_every_masked_segment(position, region, expected):
    probability = [0.1, 0.9, 0.8, 0.2][: len(position)]
    assert chosen(Hierarchy(), view(probability, position=position, region=region)) == expected


@given(st.sets(st.integers(0, 20), min_size=1), st.randoms(use_true_random=False))
def test_hierarchy_takes_exactly_one_of_each_segment_and_none_of_it_is_more_probable(positions, random):
    positions = sorted(positions)
    chance = {p: random.random() for p in positions}
    segments = []
    for p in positions:
        if p - 1 in chance:
            segments[-1].append(p)
        else:
            segments.append([p])
    taken = chosen(Hierarchy(), view([chance[p] for p in positions], position=positions))
    assert [positions[i] for i in taken] == [max(s, key=chance.__getitem__) for s in segments]


# Parallel-forced


@st.composite
def slots(draw, summary=True):
    """(paths, region, probability): how many positions each slot has left, and what the model says of them."""
    paths = draw(st.integers(1, 5))
    left = draw(st.lists(st.integers(0, 5), min_size=paths + 1, max_size=paths + 1).filter(lambda left: sum(left[:-1])))
    region = [slot for slot, count in enumerate(left) for _ in range(count if slot < paths or summary else 0)]
    chance = st.floats(0, 1)
    return paths, region, draw(st.lists(chance, min_size=len(region), max_size=len(region)))


def dealt(policy, case, quota, step):
    """How many each slot got, among the slots that have a mask left and are eligible."""
    paths, region, probability = case
    taken = chosen(policy, view(probability, region=region, paths=paths, quota=quota, step=step))
    open_slots = sorted({r for r in region if policy.summary == "joint" or r < paths})
    got = Counter(region[i] for i in taken)
    assert set(got) <= set(open_slots)
    return taken, [got[slot] for slot in open_slots], [region.count(slot) for slot in open_slots]


@given(slots(), st.integers(1, 30), st.integers(0, 50), st.sampled_from(["last", "joint"]))
def test_parallel_forced_deals_the_whole_budget_as_evenly_as_the_paths_allow(case, quota, step, summary):
    taken, got, left = dealt(ParallelForced(summary=summary), case, quota, step)
    assert len(taken) == min(quota, sum(left))
    # Nobody is two ahead of one who had more left: what a short path cannot take goes to the others.
    for i, j in itertools.permutations(range(len(got)), 2):
        assert got[j] == left[j] or got[i] <= got[j] + 1


@given(slots(), st.integers(1, 30), st.integers(0, 50))
def test_parallel_forced_gives_every_long_enough_path_its_share_or_one_more(case, quota, step):
    _, got, left = dealt(ParallelForced(), case, quota, step)
    share = quota // len(left)
    if min(left) > share:
        assert set(got) <= {share, share + 1}


@given(slots(), st.integers(1, 30), st.integers(0, 50))
def test_parallel_forced_takes_the_most_confident_of_each_path(case, quota, step):
    _, region, probability = case
    taken, got, _ = dealt(ParallelForced(summary="joint"), case, quota, step)
    for slot, count in zip(sorted(set(region)), got, strict=True):
        members = sorted((i for i, r in enumerate(region) if r == slot), key=lambda i: (-probability[i], i))
        assert [i for i in taken if region[i] == slot] == members[:count]


@pytest.mark.parametrize(("paths", "quota"), [(3, 1), (3, 2), (5, 3), (4, 2), (3, 4), (3, 5)])
def test_parallel_forced_is_fair_over_as_many_steps_as_paths(paths, quota):
    region = [slot for slot in range(paths) for _ in range(9)]
    case = (paths, region, [0.5] * len(region))
    got = np.array([dealt(ParallelForced(), case, quota, step)[1] for step in range(paths)])
    assert (got.sum(axis=0) == quota).all() and (got.sum(axis=1) == quota).all()
    assert got.max() - got.min() <= 1


def test_parallel_forced_by_hand():
    """Three paths, two with four left and one with one; K = 5: one each, then what is left to the first two."""
    region, probability = [0] * 4 + [1] + [2] * 4, [0.1, 0.4, 0.3, 0.2, 0.9, 0.5, 0.6, 0.7, 0.8]
    seen = view(probability, region=region, paths=3, quota=5)
    assert chosen(ParallelForced(), seen) == [1, 4, 8, 2, 7]
    # One step later the dealing starts at path 2.
    assert chosen(ParallelForced(), (dataclasses.replace(seen[0], step=1), seen[1])) == [4, 8, 1, 7, 2]


def test_the_summary_is_last_or_dealt_to_like_a_path():
    seen = view([0.5, 0.5, 0.9, 0.9], region=[0, 1, 2, 2], paths=2, quota=3)
    assert chosen(ParallelForced(), seen) == [0, 1]
    assert chosen(ParallelForced(summary="joint"), seen) == [0, 1, 2]
    assert chosen(ParallelForced(), view([0.5, 0.9], region=[2, 2], paths=2, quota=3)) == [1, 0]


# Own pace in every path


@pytest.mark.parametrize(("tau", "expected"), [(0.9, [1, 2, 4]), (0.5, [1, 2, 4, 5]), (0.98, [2, 4])])
def test_parallel_threshold_by_hand(tau, expected):
    """Two sure ones in the first path, none in the second, and the summary waits however sure it is."""
    seen = view([0.1, 0.97, 0.99, 0.2, 0.7, 0.6, 1.0], region=[0, 0, 0, 1, 1, 1, 2], paths=2)
    assert sorted(chosen(ParallelThreshold(tau=tau), seen)) == expected


@given(slots(), st.floats(0, 1), st.sampled_from(["last", "joint"]))
def test_parallel_threshold_is_a_threshold_in_every_path_and_moves_each_of_them(case, tau, summary):
    paths, region, probability = case
    taken = chosen(ParallelThreshold(tau=tau, summary=summary), view(probability, region=region, paths=paths))
    for slot in {r for r in region if r < paths or summary == "joint"}:
        members = [i for i, r in enumerate(region) if r == slot]
        alone = chosen(Threshold(tau=tau), view([probability[i] for i in members]))
        assert [i for i in taken if region[i] == slot] == [members[i] for i in alone]
    assert all(region[i] < paths or summary == "joint" for i in taken)


@given(slots(), st.floats(0, 2), st.sampled_from(["last", "joint"]))
def test_parallel_entropy_bound_is_the_bound_in_every_path_and_moves_each_of_them(case, gamma, summary):
    paths, region, entropy = case
    seen = view(entropy=entropy, region=region, paths=paths)
    taken = chosen(ParallelEntropyBound(gamma=gamma, summary=summary), seen)
    for slot in {r for r in region if r < paths or summary == "joint"}:
        members = [i for i, r in enumerate(region) if r == slot]
        alone = chosen(EntropyBound(gamma=gamma), view(entropy=[entropy[i] for i in members]))
        assert [i for i in taken if region[i] == slot] == [members[i] for i in alone]


@pytest.mark.parametrize(
    ("alone", "in_paths"),
    [(Threshold(tau=0.6), ParallelThreshold(tau=0.6)), (EntropyBound(), ParallelEntropyBound())],
)
@given(values=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=9))
def test_with_one_path_left_it_is_the_policy_that_it_is_made_of(alone, in_paths, values):
    seen = view(values, entropy=values, region=[1] * len(values), paths=3)
    assert chosen(in_paths, seen) == chosen(alone, seen)


@pytest.mark.parametrize("name", ["parallel_threshold", "parallel_entropy_bound"])
def test_the_summary_of_a_policy_in_every_path_is_last_or_written_beside_them(name):
    seen = view([0.5, 0.6, 0.9, 0.8], entropy=[0.9, 0.8, 0.2, 0.3], region=[0, 1, 2, 2], paths=2)
    assert chosen(parse_policy(name), seen) == [0, 1]
    assert set(chosen(parse_policy(f"{name}:summary=joint"), seen)) >= {0, 1, 2}
    after = view([0.9, 0.8], entropy=[0.2, 0.3], region=[2, 2], paths=2)
    assert chosen(parse_policy(name), after)[0] == 0


# Names


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("ar", AR()),
        ("low_confidence", LowConfidence()),
        ("low_confidence:block=32", LowConfidence(block=32)),
        ("threshold:tau=0.8,block=16", Threshold(tau=0.8, block=16)),
        ("factor:f=2", Factor(f=2.0)),
        ("entropy_bound:gamma=1e-3", EntropyBound(gamma=0.001)),
        ("parallel_forced:summary=joint", ParallelForced(summary="joint")),
        ("parallel_threshold:tau=0.8,summary=joint", ParallelThreshold(tau=0.8, summary="joint")),
        ("parallel_entropy_bound:gamma=0.01", ParallelEntropyBound(gamma=0.01)),
    ],
)
def test_a_policy_is_read_from_its_name_and_settings(text, policy):
    assert parse_policy(text) == policy


@pytest.mark.parametrize("kind", POLICIES.values())
def test_every_number_that_a_policy_is_told_has_a_range(kind):
    others = {"block", "guide"}
    numbers = {f.name for f in dataclasses.fields(kind) if not isinstance(f.default, str)} - others
    assert set(kind.ranges) == numbers


@pytest.mark.parametrize("kind", [kind for kind in POLICIES.values() if not hasattr(kind, "open_guide")])
def test_a_default_policy_is_named_by_its_name_alone(kind):
    assert POLICIES[policy_name(kind())] is kind


@given(
    st.one_of(
        st.builds(Threshold, tau=st.floats(0, 1), block=st.none() | st.integers(1, 99)),
        st.builds(Factor, f=st.floats(0, 9), block=st.none() | st.integers(1, 99)),
        st.builds(EntropyBound, gamma=st.floats(0, 9)),
        st.builds(Random, block=st.none() | st.integers(1, 99)),
        st.builds(ParallelForced, summary=st.sampled_from(["last", "joint"])),
        st.builds(ParallelThreshold, tau=st.floats(0, 1), summary=st.sampled_from(["last", "joint"])),
        st.builds(ParallelEntropyBound, gamma=st.floats(0, 9), summary=st.sampled_from(["last", "joint"])),
    )
)
def test_a_name_reads_back_as_the_same_policy(policy):
    assert parse_policy(policy_name(policy)) == policy


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("treshold", "unknown policy 'treshold'; did you mean 'threshold'? all 35 are in docs/reference/policies.md"),
        ("xyz", "unknown policy 'xyz'; known: ar, "),
        ("", "unknown policy ''; known: "),
        ("threshold:tua=0.5", "policy 'threshold' has no setting 'tua'; did you mean 'tau'? it has: tau, block"),
        ("own.py:block=4", "got the file 'own.py'; a file is what nap decode --policy and nap leaderboard"),
        ("ar:block=4", "policy 'ar' has no setting 'block'; it has: none"),
        ("threshold:tau=0.5,tau=0.6", "policy 'threshold': tau is given twice"),
        ("threshold:tau=high", "policy 'threshold': tau must be float, got 'high'"),
        ("threshold:tau", "policy 'threshold': tau must be float, got ''"),
        ("low_confidence:block=4.5", "policy 'low_confidence': block must be int, got '4.5'"),
        ("low_confidence:block=0", "policy 'low_confidence': block must be at least 1, got 0"),
        ("low_confidence:block=-8", "policy 'low_confidence': block must be at least 1, got -8"),
        ("parallel_forced:summary=never", "unknown summary 'never'; known: last, joint"),
        ("parallel_threshold:summary=never", "unknown summary 'never'; known: last, joint"),
        (
            "parallel_entropy_bound:tau=1",
            "policy 'parallel_entropy_bound' has no setting 'tau'; it has: gamma, summary",
        ),
    ],
)
def test_a_wrong_policy_is_named_in_one_line_with_what_is_known(text, said):
    with pytest.raises(InputError) as caught:
        parse_policy(text)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("tau", ["0.9", True, [0.9]])
def test_a_setting_of_another_type_is_named(tau: Any):
    with pytest.raises(InputError, match="tau of policy Threshold must be a number, got "):
        Threshold(tau=tau)
    numpy: Any = np.float32(0.5)
    assert Threshold(tau=numpy) == Threshold(tau=0.5)


def test_a_file_of_ones_own_stands_for_the_policy_in_it(tmp_path, monkeypatch):
    monkeypatch.setattr("nap.decoding.policies.own.POLICIES", POLICIES | {})
    file = tmp_path / "own.py"
    one = "class {0}(LowConfidence):\n    a: int = 1\n"
    head = "from dataclasses import dataclass\nfrom nap.decoding.policies.ordered import LowConfidence\n"
    marked = "@dataclass(frozen=True, kw_only=True)\n" + one
    file.write_text(head + marked.format("OwnOne"))
    assert (of_file(f"{file}:a=2"), of_file(str(file)), of_file("ar")) == ("own_one:a=2", "own_one", "ar")
    file.write_text(head + marked.format("OwnOne") + marked.format("OwnTwo"))
    with pytest.raises(InputError, match=r"own.py defines 2 policies \(own_one, own_two\); keep the one"):
        of_file(str(file))


def test_a_plugin_is_found_by_its_entry_point(monkeypatch):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Mine(LowConfidence):
        strength: float = 1.0

    class Point:
        name = "mine"
        load = staticmethod(lambda: Mine)

    monkeypatch.setattr(
        "nap.decoding.policies.registry.entry_points", lambda group: [Point] if group == "nap.policies" else []
    )
    assert parse_policy("mine:strength=2") == Mine(strength=2.0)
    assert policy_name(Mine(strength=2.0)) == "mine:strength=2.0", "its name is its own"
    with pytest.raises(InputError, match="unknown policy 'yours'"):
        parse_policy("yours")
