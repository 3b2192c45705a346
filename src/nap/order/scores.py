"""The numbers of an order as frozen records, declared once; their names in JSON follow from the fields.

A number that nothing was measured for is None, never 0. In a mean of many orders counts are fractions too, and in a
count of who had a number all of them are counts.

Does not measure (measure.py) or average (means.py).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

from nap.common.records import Json

Number = float | None

STAGES = ("first", "middle", "last")


class Arness(NamedTuple):
    """ARness at one k: expected, its bounds where steps leave the order open, and what a random order has."""

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
    """The names of an `Arness` at this k: `global_arness@2_random`; `ordered` is a variant and stands before the k."""
    names = (name.replace("_arness", f"_arness@{k}") for name in Arness._fields)
    return tuple(f"local_arness_ordered@{k}" if name.endswith("_ordered") else name for name in names)


NOTHING = Arness(*[None] * len(Arness._fields))


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """What is measured of one sequence of commits.

    n_tokens             commits that count
    n_finalising_steps   steps that finalised at least one
    arness               by k
    """

    n_tokens: Number
    n_finalising_steps: Number
    afp: Number
    tau_b: Number
    tied_share: Number
    pairwise_global: Number
    pairwise_local: Number
    arness: Mapping[int, Arness]

    def at(self, k: int) -> Arness:
        """ARness at k; nothing where it was not asked for."""
        return self.arness.get(k, NOTHING)

    def numbers(self) -> list[Number]:
        """All numbers, those of each k last."""
        return [*_plain(self), *chain.from_iterable(self.arness.values())]

    @classmethod
    def made(cls, ks: Sequence[int], numbers: Sequence[Number]) -> "Scores":
        """The inverse of `numbers`."""
        width, start = len(Arness._fields), len(PLAIN)
        ends = range(start + width, len(numbers) + 1, width)
        parts = {k: Arness._make(numbers[end - width : end]) for k, end in zip(ks, ends, strict=True)}
        return cls(**dict(zip(PLAIN, numbers, strict=False)), arness=parts)

    def json(self) -> dict[str, Json]:
        """Flat, with names such as `global_arness@1`."""
        found: dict[str, Json] = dict(zip(PLAIN, _plain(self), strict=True))
        for k, values in self.arness.items():
            found.update(zip(arness_keys(k), values, strict=True))
        return found


PLAIN = tuple(f.name for f in fields(Scores) if f.name != "arness")
_plain = attrgetter(*PLAIN)


class Counts(NamedTuple):
    """What is counted of a whole run beside its scores; what it cost where that is known.

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
               baseline average the whole order's hits over a stage's commits (so stages average to the whole); the
               others take the stage's positions as a sequence of their own
    paths      scores of each path as a sequence of its own, in the sequence of the canvas headers
    path_mean  the mean of these over the paths that have a value
    summary    likewise the summary's. A bare order has none of these three
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
        """ARness within a path at k, mean over paths."""
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


def mean_scores(ks: Sequence[int], scores: Sequence[Scores], mean: Callable[[Sequence[Number]], Number]) -> Scores:
    """The mean of every number over some scores."""
    return Scores.made(ks, [mean(column) for column in zip(*(one.numbers() for one in scores), strict=True)])
