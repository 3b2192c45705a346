"""`nap leaderboard`: every decoder on every model of a task, chosen and measured by one rule, as one page.

Does not run, choose or measure (evaluation/leaderboard.py); reads the flags, prints and writes.
"""

import json
import shlex
import sys
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from nap.commands.evaluate import run_shown
from nap.commands.flags import Words
from nap.commands.tables import draw, open_console
from nap.common.files import InputError, atomic
from nap.common.text import printable, say

if TYPE_CHECKING:
    from nap.evaluation.leaderboard import Board, Point
    from nap.evaluation.rows import Row
    from nap.evaluation.sweep import Sweep

ORDER = ("global_arness_at_1", "path_global_arness_at_1", "tau_b")


@dataclass(frozen=True, kw_only=True)
class LeaderboardCommand:
    """Compare every decoder on every model, settings by one rule.

    Settings are chosen on other problems than they are measured on.

    The same command goes on with what was stopped.

    Problems, models and decoders may be added to what there is.
    """

    models: tuple[str, ...] = ()
    """each TASK=MODEL, TASK@FILE=MODEL or law=exact:FILE (default: the bundled models, and the exact laws of tasks)"""
    add_models: tuple[str, ...] = ()
    """more of them, beside the default"""
    decoders: tuple[str, ...] = ()
    """policies by name or with settings, at most four of each (default: all that need no second model); also FILE.py
    with a policy of yours, which is run"""
    add_decoders: tuple[str, ...] = ()
    """more of them, beside the default; also FILE.py"""
    problems: int = 200
    """on which decoders are measured"""
    validation: int = 100
    """on which settings are chosen, those before these"""
    out: str = "runs/leaderboard"
    """its folder"""
    page: Annotated[Words, arg(metavar="FILE.md")] = None
    """the Markdown to write (default: leaderboard.md in its folder)"""
    json: bool = False
    """print one JSON object a model and decoder"""

    def run(self) -> None:
        """Run what is left, choose, measure, print and write."""
        from nap.evaluation.decoders import CONTESTS, decoders, read_contest, usual
        from nap.evaluation.leaderboard import TEST, run_boards
        from nap.evaluation.leaderboard_page import default_of, page, table
        from nap.report.page import write_report

        if self.page is not None and not self.page.endswith(".md"):
            raise InputError(f"the leaderboard is a page of Markdown; --page must end in .md, got {self.page!r}")
        contests = [read_contest(text) for text in dict.fromkeys((*(self.models or CONTESTS), *self.add_models))]
        texts, digests = _own((*(self.decoders or usual()), *self.add_decoders))
        found = decoders(texts)
        folder, boards, console = Path(self.out), list["Board"](), open_console()
        for board in run_boards(
            contests, found, folder, _run, problems=self.problems, validation=self.validation, digests=digests
        ):
            boards.append(board)
            if self.json:
                _print_json(board)
                continue
            console.print(f"\n{board.contest}", style="bold", markup=False)
            draw(console, *table(board))
        written, default = Path(self.page) if self.page else folder / "leaderboard.md", default_of(boards)
        with atomic(written) as file:
            file.write(page(boards, default=default, command=self.command(), date=datetime.now(UTC).date().isoformat()))
        write_report([folder / board.contest.place / TEST for board in boards], folder / "leaderboard.html")
        if default and not self.json:
            console.print(f"\n{default}", markup=False)
        print(f"the leaderboard is {written}, with curves and replays {folder / 'leaderboard.html'}", file=sys.stderr)

    def command(self) -> str:
        """The command that makes it again, without where it writes."""
        words = ["nap", "leaderboard"]
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("out", "page", "json") or value == field.default:
                continue
            flag = f"--{field.name.replace('_', '-')}"
            words += [flag, *map(str, value)] if isinstance(value, tuple) else [flag, str(value)]
        return shlex.join(words)


def _own(texts: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """The policies' texts with files' names replaced by what is in them, and by policy a digest of its file."""
    from nap.common.folder import digest_files
    from nap.decoding.policies.own import add_file

    found, digests = list[str](), dict[str, str]()
    for text in texts:
        file, _, settings = text.partition(":")
        if not file.endswith(".py"):
            found.append(text)
            continue
        names = add_file(file)
        digests |= dict.fromkeys(names, digest_files([Path(file)]))
        found += [f"{name}:{settings}" if settings else name for name in names]
    return found, digests


def _run(sweep: "Sweep", folder: Path, /, **settings: Any) -> "list[Row]":
    say(f"{printable(sweep.models[0], 200)}, {folder.name}: {sweep.problems} problems, {len(sweep.cells())} settings")
    return run_shown(sweep, folder, **settings, say=say)


def _print_json(board: "Board") -> None:
    def point(found: "Point | None") -> object:
        if found is None:
            return None
        return {"cell": found.record.cell, "score": found.score.value, "interval": found.score.interval,
                "filled": found.filled, "tpf": found.tpf, "tokens_per_query": found.per_query}  # fmt: skip

    for one in board.standings:
        record = one.chosen.record
        order = {name: getattr(record, name).value for name in ORDER}
        at = {str(k): point(known) for k, known in one.at.items()}
        told = {"contest": str(board.contest), **asdict(board.contest), "decoder": one.decoder, "at": at}
        told |= {"aup": one.aup, "chosen": point(one.chosen), "sparing": point(one.sparing)}
        told |= {**order, "seconds": record.seconds}
        print(json.dumps(told | {"parallel_efficiency": record.parallel_efficiency}))
