"""The numbers of an order as frozen records, declared once; their names in JSON follow from the fields.

A number that nothing was measured for is None, never 0. The same records hold means over many orders, where counts
become fractions, and counts of how many orders had each number.

Does not measure (measure.py) or average (means.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import NamedTuple

from nap.common.records import Json

Number = float | None

STAGES = ("first", "middle", "last")


class Arness(NamedTuple):
    """ARness at one k: its expected value, its bounds where steps leave the order open, and that of a random order."""

    global_arness: Number
    local_arness: Number
    global_arness_optimistic: Number
    local_arness_optimistic: Number
    global_arness_pessimistic: Number
    local_arness_pessimistic: Number
    local_arness_ordered: Number
    global_arness_random: Number


@cache
def arness_keys(k: int) -> tuple[str, ...]:
    """The names of the fields of `Arness` at this k, such as `global_arness@2_random` and `local_arness_ordered@2`."""
    names = (name.replace("_arness", f"_arness@{k}") for name in Arness._fields)
    return tuple(f"local_arness_ordered@{k}" if name.endswith("_ordered") else name for name in names)


NOTHING = Arness(*[None] * len(Arness._fields))
PLAIN = (
    "n_tokens", "n_finalising_steps", "afp", "tau_b", "tied_share", "pairwise_global", "pairwise_local",
)  # fmt: skip


def _number(place: int) -> property:
    return property(lambda scores: scores.numbers[place])


@dataclass(frozen=True, slots=True)
class Scores:
    """The metrics of one sequence of commits.

    ks                   the k for which there is an `Arness`
    numbers              all numbers: first those of PLAIN, which are also attributes, then the `Arness` of each k
    n_tokens             commits that count
    n_finalising_steps   steps that finalised at least one
    """

    ks: tuple[int, ...]
    numbers: Sequence[Number]

    n_tokens, n_finalising_steps, afp, tau_b, tied_share, pairwise_global, pairwise_local = map(
        _number, range(len(PLAIN))
    )

    def at(self, k: int) -> Arness:
        """ARness at k; all None where this k was not measured."""
        if k not in self.ks:
            return NOTHING
        width = len(Arness._fields)
        start = len(PLAIN) + width * self.ks.index(k)
        return Arness._make(self.numbers[start : start + width])

    def json(self) -> dict[str, Json]:
        """Flat, with names such as `global_arness@1`."""
        return dict(zip(score_keys(self.ks), self.numbers, strict=True))


@cache
def score_keys(ks: tuple[int, ...]) -> tuple[str, ...]:
    """The names of the numbers of a `Scores`."""
    return (*PLAIN, *chain.from_iterable(map(arness_keys, ks)))


class Counts(NamedTuple):
    """Counts of a whole run, and what it cost where that is known.

    tpf               tokens a forward
    queries           positions computed in all forwards
    tokens_per_query  tokens a position computed, which makes caches comparable
    guide_calls       calls of a second model
    """

    n_steps: Number
    n_edits: Number
    n_remasked: Number
    n_uncounted: Number
    forwards: Number
    tpf: Number
    queries: Number = None
    tokens_per_query: Number = None
    guide_calls: Number = None


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderReport:
    """Every metric of one order.

    whole      scores of the whole order
    counts     steps of the run, edits, remasks, uncounted, forwards, TPF
    stages     scores of thirds of the run by step index (step s of S is in third 3s // S). [ours] ARness and its
               baseline average the hits of the whole order over a stage's commits, so that stages average to the whole;
               the other metrics treat the positions of a stage as a sequence of its own
    paths      scores of each path as a sequence of its own, in the sequence of the canvas headers
    path_mean  the mean of these over the paths that have a value
    summary    the scores of the summary. A bare order has neither paths nor summary
    """

    whole: Scores
    counts: Counts
    stages: tuple[Scores, ...]
    paths: tuple[Scores, ...] = ()
    path_mean: Scores | None = None
    summary: Scores | None = None

    def __getitem__(self, name: str) -> Number:
        """A number of the whole by its JSON name, such as `global_arness@1`. Raises KeyError that lists the names."""
        found = {**self.whole.json(), **self.counts._asdict()}
        if not isinstance(value := found.get(name, name), float | int | None):
            raise KeyError(f"{name}; the names are {', '.join(found)}")
        return value

    def at(self, k: int) -> Arness:
        """ARness of the whole at k."""
        return self.whole.at(k)

    def path_at(self, k: int) -> Arness:
        """ARness within a path at k, averaged over paths."""
        return self.path_mean.at(k) if self.path_mean else NOTHING

    def parts(self) -> Iterator[tuple[str, Scores]]:
        """Every sequence that was scored, by name; paths are numbered from 1."""
        yield "whole", self.whole
        yield from zip(STAGES, self.stages, strict=True)
        yield from ((str(number), scores) for number, scores in enumerate(self.paths, 1))
        if self.path_mean and self.summary:
            yield from (("path_mean", self.path_mean), ("summary", self.summary))

    def json(self) -> dict[str, Json]:
        """Nested: the whole's scores and counts, then `per_stage`, `per_path` ("1".."P"), `path_mean`, `summary`."""
        stages: dict[str, Json] = {name: stage.json() for name, stage in zip(STAGES, self.stages, strict=True)}
        found: dict[str, Json] = {**self.whole.json(), **self.counts._asdict(), "per_stage": stages}
        if self.path_mean and self.summary:
            paths = {str(number): scores.json() for number, scores in enumerate(self.paths, 1)}
            found |= {"per_path": paths, "path_mean": self.path_mean.json(), "summary": self.summary.json()}
        return found


def combined(parts: Mapping[str, Scores], counts: Counts) -> OrderReport:
    """The inverse of `parts`."""
    paths = tuple(scores for name, scores in parts.items() if name.isdigit())
    known = {"path_mean": parts.get("path_mean"), "summary": parts.get("summary")}
    return OrderReport(
        whole=parts["whole"], counts=counts, stages=tuple(parts[name] for name in STAGES), paths=paths, **known
    )
