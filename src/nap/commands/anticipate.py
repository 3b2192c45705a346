"""`nap anticipate`: the order in which an ideal denoiser would write a corpus, before anything is trained on it.

Does not measure (dependence/anticipation.py); reads the flags and prints.
"""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from tyro.conf import OmitArgPrefixes

from nap.commands import progress
from nap.commands.flags import Whole, Words
from nap.commands.seqdep import File, Opening
from nap.commands.tables import draw, estimated, open_console
from nap.common.bounds import CONTEXTS, CONTINUATIONS, SEED, check, check_least
from nap.common.files import InputError

if TYPE_CHECKING:
    from nap.dependence.anticipation import Profile
    from nap.dependence.rows import RowFile

# The name of all rows together.
WHOLE = "all"


@dataclass(frozen=True, kw_only=True)
class Anticipate:
    """Predict the order in which an ideal denoiser writes a text.

    A causal model continues each text: how certain is every next position?

    A row has a text, a conversation or curated paths, and perhaps a prompt.
    """

    file: File
    """a .jsonl or .parquet file"""
    opening: OmitArgPrefixes[Opening]
    contexts: int = 4
    """at how many places of each row it is continued"""
    samples: int = 64
    """continuations drawn at each place, at least 16"""
    distance: int = 16
    """tokens of each continuation, at least 2"""
    by: Words = None
    """also show the rows of each value of this field, such as a domain, separately"""
    limit: Whole = None
    """read only this many rows"""
    seed: int = 0
    """the seed of the places and continuations that are drawn"""
    json: bool = False
    """print one JSON object"""

    def run(self) -> None:
        """Draw, measure and print."""
        from nap.dependence.anticipation import anticipate, contexts_of, profile
        from nap.dependence.rows import Fields, read_rows
        from nap.dependence.sampling import sampler_of

        check_least({"--limit": self.limit})
        check("--contexts", self.contexts, CONTEXTS)
        check("--samples", self.samples, CONTINUATIONS)
        check("--seed", self.seed, SEED)
        read = read_rows(self.file, None, Fields(self.opening.text_field, self.opening.prompt_field))
        groups = self._groups(read)
        scorer = self.opening.open()
        most = (scorer.max_length or 2048) - self.distance
        if most < max(1, len(scorer.start)):
            raise InputError(f"--distance {self.distance} leaves no room in the scorer's {scorer.max_length} tokens")
        rows = read.rows[: self.limit]
        contexts = contexts_of(rows, scorer, self.contexts, most, self.seed)
        counts = {"left_out": len(rows) - len({one.row for one in contexts})}
        counts |= {"shortened": sum(one.cut for one in contexts)}
        with progress.bar("continued") as bar:
            found = anticipate(
                sampler_of(scorer), contexts, self.samples, self.distance, self.seed,
                lambda done: bar.show(done, len(contexts)),
            )  # fmt: skip
        parts = {name: [one for one in found if one.context.row in rows] for name, rows in groups.items()}
        profiles = {WHOLE: profile(found)} | {name: profile(part) for name, part in parts.items() if part}
        if self.json:
            found_in = {name: asdict(one) for name, one in profiles.items()}
            print(json.dumps(found_in | {WHOLE: counts | found_in[WHOLE]}))
        else:
            print_profiles(profiles)
            open_console().print(
                f"left out for having no text: {counts['left_out']} rows; cut at the start to {most} tokens: "
                f"{counts['shortened']} contexts",
                style="dim",
            )

    def _groups(self, read: "RowFile") -> dict[str, set[int]]:
        """The row numbers for each value of the field `by`. Raises InputError where no row has it."""
        if self.by is None:
            return {}
        groups: dict[str, set[int]] = {}
        for number, row in enumerate(read.objects[: self.limit]):
            if self.by in row:
                groups.setdefault(str(row[self.by]), set()).add(number)
        if not groups:
            raise InputError(f"no row of {self.file} has the field {self.by!r}")
        if WHOLE in groups:
            raise InputError(
                f"{len(groups[WHOLE])} rows of {self.file} have {WHOLE!r} in the field {self.by!r}, which is the name "
                "of all rows together here; rename that group"
            )
        return groups


def print_profiles(profiles: "dict[str, Profile]") -> None:
    """One line a group: how certain each distance is, and what is written first."""
    from nap.common.text import printable

    console = open_console()
    distances = list(profiles[WHOLE].top)
    header = ["rows", "contexts", *(f"top {d}" for d in distances), "first", "rank", "ARness", "canvas"]
    lines = [
        [
            printable(name), str(one.contexts), *(f"{one.top[d].mean:.2f}" for d in distances), estimated(one.first, 2),
            f"{one.rank.mean:.1f}", estimated(one.order, 2), estimated(one.canvas, 2),
        ]
        for name, one in profiles.items()
    ]  # fmt: skip
    draw(console, header, lines)
    entropies = ", ".join(f"{profiles[WHOLE].entropy[d].mean:.2f}" for d in distances)
    console.print(
        f"top d: largest probability of the marginal d tokens on (entropy {entropies} nats). first: the next position "
        "is the most certain. rank: of the next position. ARness: of the ideal order within a path, as far as samples "
        "agree. canvas: first, among all paths",
        style="dim",
    )
