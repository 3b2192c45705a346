"""The leaderboard as Markdown and as tables for a terminal.

Does not measure or choose (leaderboard.py).
"""

from collections.abc import Sequence

from nap import __version__
from nap.common.text import markdown_table, printable, short
from nap.decoding.policies.registry import POLICIES
from nap.evaluation.decoders import CONTESTS, LAW, PACES, RESTORE, read_contest, usual
from nap.evaluation.leaderboard import RULE, TEST, TIMED_PROBLEMS, VALIDATION, Board, Point, Score, Standing
from nap.evaluation.leaderboard_default import DEFAULT_RULE, REFERENCE, Nearest, Proposed, compared, nearest, proposed
from nap.evaluation.summary import Mean
from nap.evaluation.tables import mean

ORDER = ("ARness", "ARness/path", "tau-b")
HEADER = (
    "decoder", *(f"at {k}" for k in PACES), "chosen", "its score", "TPF", "tokens/query", "AUP", *ORDER,
    "critical path/forwards", "seconds",
)  # fmt: skip
LAW_HEADER = ("decoder", *(f"at {k}" for k in PACES), "chosen", "its score", "TPF", "tokens/query", *ORDER, "seconds")
COLUMNS = (
    "At 1, 2, 4, 8: the best score of the settings that fill at least k / 1.41 positions a forward, so that speeds "
    "in a column differ. Tokens/query: tokens per 1,000 query tokens. Critical path/forwards: steps that a problem "
    "needs one after the other, over the forwards taken. Seconds: wall time of a problem decoded alone on the "
    f"machine of this run, mean over {TIMED_PROBLEMS} test problems, to compare inside one table only. Brackets: 95 "
    "% intervals over problems (Wilson; for laws and means the bootstrap), not over training seeds."
)


def table(board: Board) -> tuple[tuple[str, ...], list[list[str]]]:
    """The header and the lines of a board."""
    law = board.contest.task == LAW
    return (LAW_HEADER if law else HEADER), [_line(one, law) for one in board.standings]


def _line(one: Standing, law: bool) -> list[str]:
    record = one.chosen.record
    order = [mean(m) for m in (record.global_arness_at_1, record.path_global_arness_at_1, record.tau_b)]
    seconds = "-" if record.seconds is None else f"{record.seconds:.2g}"
    area = [] if law else ["-" if one.aup is None else f"{one.aup:.0f}"]
    path = [] if law else [short(record.parallel_efficiency)]
    return [
        one.decoder, *("-" if (p := one.at[k]) is None else score(p.score, law) for k in PACES), _setting(one.chosen),
        score(one.chosen.score, law), mean(record.tpf), f"{1000 * one.sparing.per_query:.1f}", *area, *order, *path,
        seconds,
    ]  # fmt: skip


def _setting(point: Point) -> str:
    """`tau=0.9`, or at `4/step`. The guide is in the decoder's name."""
    _, _, told = point.record.policy.partition(":")
    said = ",".join(part for part in told.split(",") if not part.startswith("guide="))
    return " ".join(part for part in (said, point.record.pace if point.record.pace != "own" else "") if part) or "own"


def score(found: Score, law: bool) -> str:
    """`75.0 [51, 90]`: percent; or nats a token."""
    value, interval = found
    if law:
        return f"{-value:.2f}" + (f" [{-interval.high:.2f}, {-interval.low:.2f}]" if interval else "")
    return f"{100 * value:.1f}" + (f" [{100 * interval.low:.0f}, {100 * interval.high:.0f}]" if interval else "")


def page(boards: Sequence[Board], *, default: str, command: str, date: str) -> str:
    """The whole leaderboard as Markdown. The same boards, command and date give the same text.

    default  what `default_of` says of these boards
    """
    tested = {len(board.rows) // max(1, len(board.points[TEST])) for board in boards}
    validated = {point.record.problems for board in boards for point in board.points[VALIDATION].values()}
    parts = [
        "# The leaderboard: every decoder on every model, by one command\n",
        f"Made by code on {date} with NAP {__version__}; do not edit it by hand:\n",
        "<!-- not run: hours -->\n",
        f"    {command}\n",
        f"Settings are chosen on {_numbers(validated)} validation problems of each task's held-out split, and measured "
        f"on the next {_numbers(tested)}. How to add a model or a decoder: "
        "[how-to/leaderboard.md](how-to/leaderboard.md).\n",
        f"**The rule.** {RULE}\n",
        f"**Columns.** {COLUMNS}\n",
        f"**Not in this run.** {left_out(boards)}\n",
        *_default(default),
        *(_section(board) for board in boards),
    ]
    return "\n".join(parts)


def default_of(boards: Sequence[Board]) -> str:
    """What DEFAULT_RULE comes to on these boards; empty where no model has a say in it."""
    known = [board for board in boards if board.contest.trained]
    if not known:
        return ""
    if without := [board.contest.model for board in known if not compared(board)]:
        return (
            f"Nothing is said of the default: {' at '.join(REFERENCE)}, which is the present one, did not run with "
            f"{', '.join(map(printable, without))}. Ask for it with --add-decoders {REFERENCE[0]}."
        )
    found = proposed(boards)
    return default_said(found, None if found else nearest(boards))


def _default(said: str) -> list[str]:
    return ["## What the default should be\n", f"{DEFAULT_RULE}\n", f"{said}\n"] if said else []


def left_out(boards: Sequence[Board]) -> str:
    """Which decoders of NAP nobody asked for here, so that none is left out silently."""
    named = (name for board in boards for name in (*(one.decoder for one in board.standings), *board.refused))
    asked = {name.partition(" ")[0] for name in named}
    rest = [name for name in POLICIES if name not in asked]
    said, known = list[str](), usual()
    if alone := [name for name in rest if name in known]:
        said.append(f"Not asked for: {', '.join(alone)}.")
    if guided := [name for name in rest if name not in known]:
        said.append(f"Needing a second model that is trained for one denoiser: {', '.join(guided)}; see systems.md.")
    return " ".join(said) or "Nothing."


def _numbers(found: set[int]) -> str:
    return " to ".join(str(number) for number in ([min(found), max(found)] if len(found) > 1 else found))


def default_said(found: Proposed | None, near: Nearest | None = None) -> str:
    """What DEFAULT_RULE comes to, in one paragraph; `near` is what comes nearest where nothing is proposed."""
    present = " at ".join(REFERENCE)
    if found is None:
        return (
            f"No setting writes more tokens a forward than {present} with every trained model without losing a point "
            "on the validation problems: the default stays." + (_near(near) if near else "")
        )
    gains = ", ".join(f"{printable(model)} {_points(gain)}" for model, gain in found.gains.items())
    pace = "" if found.pace == "own" else f" at {found.pace}"
    return (
        f"Proposed by the validation problems: `{found.policy}`{pace}, {found.faster:.1f} times the tokens a forward "
        f"of {present} on the test problems. Points of accuracy gained there: {gains}; over all "
        f"{_points(found.together)}. " + _verdict(found)
    )


def _near(near: Nearest) -> str:
    pace = "" if near.pace == "own" else f" at {near.pace}"
    return (
        f" Nearest comes `{near.policy}`{pace}: {near.faster:.1f} times the tokens a forward, and where it loses most, "
        f"with {printable(near.model)}, {100 * near.worst:+.1f} points there."
    )


def _verdict(found: Proposed) -> str:
    if not found.holds:
        return "So it does not hold, and the default stays."
    # Of the bundled models some may not have been asked for, and a default is everybody's.
    contests = [contest for contest in map(read_contest, CONTESTS) if contest.trained]
    rest = ", ".join(contest.model for contest in contests if contest.model not in found.gains)
    return "So it holds" + (
        f" on these; the default stays until it holds on {rest} too, not run here." if rest else "."
    )


def _points(gain: Mean) -> str:
    low, high = gain.interval or (0.0, 0.0)
    return f"{100 * (gain.value or 0):+.1f} [{100 * low:+.0f}, {100 * high:+.0f}]"


def _section(board: Board) -> str:
    header, lines = table(board)
    scores = {LAW: "nats a token, lower is better", RESTORE: "masked tokens that are restored, in %"}
    what = scores.get(board.contest.task, "accuracy in %")
    text = f"## {printable(str(board.contest), 120)}\n\nScore: {what}.\n\n{markdown_table(header, lines)}"
    guided = [name for name in board.refused if " (" in name]
    if refused := {name: reason for name, reason in board.refused.items() if name not in guided}:
        text += f"\nNot run: {'; '.join(f'{name}: {printable(said, 300)}' for name, said in refused.items())}.\n"
    if guided:
        text += f"\nNot run, as their second model is of another one: {', '.join(guided)}.\n"
    return text
