"""What the leaderboard says of the default of `nap decode`: DEFAULT_RULE, and what it comes to on its boards.

Does not run or choose the settings of decoders (leaderboard.py), and changes no default.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log

from nap.common.stats import paired_interval
from nap.evaluation.leaderboard import POINT, TEST, VALIDATION, Board, Point
from nap.evaluation.summary import Mean

# The setting that `nap decode` has by default, which others are compared with.
REFERENCE = ("parallel_forced", "1/step")
DEFAULT_RULE = (
    "What should be the default: of all settings that no trained model here loses more than a point with on the "
    "validation problems, against the present default at one token a step, and that write more tokens a forward with "
    "every one, the one with the largest geometric mean of that gain. It holds where on the test problems no model "
    "shows a loss (the 95 % interval of the paired difference reaches 0 for each), and the interval over all problems "
    "together lies above -5 points."
)
MARGIN = 0.05


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """The setting that DEFAULT_RULE proposes, and whether it holds.

    gains     by contest: what is gained on the test problems against the reference, with its interval
    together  over the problems of all
    faster    geometric mean of tokens a forward over the reference's
    """

    policy: str
    pace: str
    gains: Mapping[str, Mean]
    together: Mean
    faster: float
    holds: bool


def compared(board: Board) -> bool:
    """Whether the reference ran in it, which all others are compared with."""
    return REFERENCE in _by_setting(board, VALIDATION)


def proposed(boards: Sequence[Board]) -> Proposed | None:
    """What DEFAULT_RULE proposes; None where the reference did not run, or nothing is faster at no loss."""
    known = [board for board in boards if board.contest.trained]
    fit = {setting: faster for setting, (faster, gains) in _faster(known).items() if min(gains) >= -POINT - 1e-9}
    if not fit:
        return None
    best = max(sorted(fit), key=lambda setting: fit[setting])
    pairs = [_pairs(board, best) for board in known]
    found = {board.contest.model: _gain(pair) for board, pair in zip(known, pairs, strict=True)}
    together = _gain([one for pair in pairs for one in pair])
    tested = [_by_setting(board, TEST) for board in known]
    faster = _mean_ratio([of[best].tpf / of[REFERENCE].tpf for of in tested])
    holds = all(gain.interval.high >= 0 for gain in found.values() if gain.interval) and (
        together.interval is not None and together.interval.low > -MARGIN
    )
    return Proposed(policy=best[0], pace=best[1], gains=found, together=together, faster=faster, holds=holds)


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """Of the settings that are faster with every model, the one that loses least where it loses most.

    worst   what it gains there on the validation problems, from -1 to 1
    model   where that is
    faster  geometric mean of tokens a forward over the reference's
    """

    policy: str
    pace: str
    worst: float
    model: str
    faster: float


def nearest(boards: Sequence[Board]) -> Nearest | None:
    """What comes nearest to DEFAULT_RULE; None where the reference did not run, or nothing is faster with every model.

    Of those that lose equally little the fastest.
    """
    known, found = [board for board in boards if board.contest.trained], []
    for (policy, pace), (faster, gains) in sorted(_faster(known).items()):
        worst = min(gains)
        model = known[gains.index(worst)].contest.model
        found.append(Nearest(policy=policy, pace=pace, worst=worst, model=model, faster=faster))
    return max(found, key=lambda one: (round(one.worst, 9), one.faster), default=None)


def _faster(known: Sequence[Board]) -> dict[tuple[str, str], tuple[float, list[float]]]:
    """The settings that write more tokens a forward than the reference with every model, on the validation problems.

    Of each the geometric mean of that gain, and what is gained in score with each model. Nothing where the reference
    did not run.
    """
    if not known or not all(map(compared, known)):
        return {}
    cells = [_by_setting(board, VALIDATION) for board in known]
    found = {}
    for setting in set.intersection(*(set(of) for of in cells)) - {REFERENCE}:
        speed = [of[setting].tpf / of[REFERENCE].tpf for of in cells]
        if min(speed) > 1:
            found[setting] = _mean_ratio(speed), [of[setting].score.value - of[REFERENCE].score.value for of in cells]
    return found


def _mean_ratio(ratios: Sequence[float]) -> float:
    """The geometric mean."""
    return exp(sum(map(log, ratios)) / len(ratios))


def _by_setting(board: Board, part: str) -> dict[tuple[str, str], Point]:
    return {(point.record.policy, point.record.pace): point for point in board.points[part].values()}


def _pairs(board: Board, setting: tuple[str, str]) -> list[tuple[bool, bool]]:
    """Of each test problem whether the reference and the setting solve it."""
    solved = {which: {r.problem_id: r.correct for r in board.rows if (r.policy, r.pace) == which} for which in
              (REFERENCE, setting)}  # fmt: skip
    return [(correct, solved[setting][problem]) for problem, correct in solved[REFERENCE].items()]


def _gain(pairs: Sequence[tuple[bool, bool]]) -> Mean:
    first, second = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return Mean((sum(second) - sum(first)) / len(pairs), paired_interval(first, second))
