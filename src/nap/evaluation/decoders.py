"""What a leaderboard compares: decoders, each with at most four settings, and contests, a model on a task.

A decoder that follows a budget is run at 1, 2, 4 and 8 tokens a step; of any other one number sets the speed (KNOBS),
and four values of it are run. So the effort for each is the same.

Does not run them (leaderboard.py).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

from nap.common.files import InputError
from nap.common.text import check_known
from nap.data.cells import Cell
from nap.decoding.policies.registry import POLICIES, parse_policy
from nap.tasks.registry import TASKS

PACES = (1, 2, 4, 8)
EFFORT = len(PACES)  # settings of a decoder, at most
# Of each decoder that sets its own pace: the setting that makes it faster or slower, and four values of it.
KNOBS: dict[str, tuple[str, tuple[float, ...]]] = {
    "threshold": ("tau", (0.95, 0.9, 0.7, 0.5)),
    "factor": ("f", (0.25, 0.5, 1.0, 2.0)),
    "bounded": ("delta", (0.5, 0.25, 0.0, -0.5)),
    "entropy_bound": ("gamma", (0.01, 0.1, 0.5, 1.0)),
    "localleap": ("relaxed", (0.85, 0.75, 0.6, 0.4)),
    "dilated": ("base", (2, 3, 4, 8)),
    "parallel_threshold": ("tau", (0.95, 0.9, 0.7, 0.5)),
    "parallel_entropy_bound": ("gamma", (0.01, 0.1, 0.5, 1.0)),
    "credit": ("tau", (0.95, 0.9, 0.7, 0.5)),
    "multi_block": ("entropy", (0.1, 0.25, 0.5, 1.0)),
    "lopa": ("branches", (1, 2, 4, 8)),
    "self_speculative": ("ahead", (4,)),  # lossless at any: more would only cost
    "remdm": ("k", (1, 2, 4, 8)),
    "saber": ("n", (1, 2, 4, 8)),
    "wino": ("tau", (0.9, 0.8, 0.7, 0.6)),
    "dawn": ("low", (0.85, 0.8, 0.7, 0.6)),
    "remix": ("tau", (0.95, 0.9, 0.8, 0.6)),
    "refusion": ("first", (0.95, 0.9, 0.7, 0.5)),
    "draft_edit": ("share", (0.1, 0.25, 0.5, 0.75)),
    "draft_redo": ("share", (0.1, 0.25, 0.5, 0.75)),
    "token_edit": ("tau", (0.95, 0.9, 0.7, 0.5)),
}
# The same of those with a second model, `demask:guide=DIR`, which are decoders of its denoiser.
GUIDED_KNOBS: dict[str, tuple[str, tuple[float, ...]]] = {
    "demask": ("tau", (0.05, 0.2, 0.5, 2.0)),
    "codila": ("block", (1, 2, 4, 8)),
    "draft_revise": ("share", (0.1, 0.25, 0.5, 0.75)),
}
# A contest of this task is about a law's texts: `law=exact:FILE`.
LAW = "law"
# Texts with gaps: the score is the share of masked tokens that is restored.
RESTORE = "restore"
CONTESTS = (
    "arith=arith-longcot", "arith=arith-nap", "countdown=countdown-longcot", "countdown=countdown-nap",
    "grids=grids-longcot", "grids=grids-nap", "grids=grids-paths", "sudoku=sudoku-4x4", "sudoku-6x6=sudoku-6x6",
    "agree=agree-longcot", "agree=agree-nap", "grids=exact:grids", "agree=exact:agree",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Contest:
    """A model on a task, whose problems are those of the file `data` where it is given."""

    task: str
    model: str
    data: str | None = None

    def __str__(self) -> str:
        """As `read_contest` reads it."""
        return f"{self.task}{f'@{self.data}' if self.data else ''}={self.model}"

    @property
    def place(self) -> str:
        """A name of its own for a folder."""
        plain = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in Path(self.model).name)
        return f"{self.task}-{plain[:40].strip('.')}-{blake2b(str(self).encode(), digest_size=3).hexdigest()}"

    @property
    def trained(self) -> bool:
        """Whether the model has learned a task with right answers: not an exact law, nor what restores texts."""
        return not self.model.startswith("exact:") and self.task != RESTORE


def read_contest(text: str) -> Contest:
    """The contest of `TASK=MODEL` or `TASK@FILE=MODEL`. Raises InputError for a text of another form."""
    left, equals, model = text.partition("=")
    task, _, data = left.partition("@")
    if not equals or not model or not task:
        raise InputError(f"a model of a leaderboard is TASK=MODEL, such as arith=my-folder, got {text!r:.80}")
    check_known("task", task, (*TASKS, LAW))
    if task == LAW and not model.startswith("exact:"):
        raise InputError(f"law= takes an exact law, law=exact:FILE, got {text!r:.80}")
    return Contest(task=task, model=model, data=data or None)


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """A policy's name (with that of its guide, where it has one), and the texts of its settings."""

    name: str
    policies: tuple[str, ...]

    @cached_property
    def settings(self) -> tuple[tuple[str, str], ...]:
        """Policy and pace of each setting, as rows say them."""
        return tuple(
            (text, pace)
            for text in self.policies
            for pace in ([f"{k}/step" for k in PACES] if parse_policy(text).paced else ["own"])
        )

    def cells(self, model: str) -> list[str]:
        """What its settings' rows of this model are called."""
        return [Cell(model, policy, pace).name for policy, pace in self.settings]


def decoders(texts: Iterable[str]) -> list[Decoder]:
    """The decoders of policies as `parse_policy` reads them: texts of one name and guide are settings of one decoder.

    A bare name of KNOBS stands for its four, and one of GUIDED_KNOBS with a guide, and settings that are not its
    number, for its four. Raises InputError for more than EFFORT settings of a decoder.
    """
    found: dict[str, list[str]] = {}
    for text in dict.fromkeys(texts):
        found.setdefault(_name(text), []).extend(_settings(text))
    made = [Decoder(name=name, policies=tuple(dict.fromkeys(given))) for name, given in found.items()]
    for decoder in made:
        if len(decoder.settings) > EFFORT:
            raise InputError(
                f"decoder {decoder.name!r} has {len(decoder.settings)} settings, and each has at most {EFFORT}, so "
                f"that the effort is the same (a policy that follows a budget has {EFFORT} paces); drop some"
            )
    return made


def _name(text: str) -> str:
    """`threshold`, or `demask (DIR)` for a policy with a second model: those of two guides are two decoders."""
    name, _, said = text.partition(":")
    guide = next((part.removeprefix("guide=") for part in said.split(",") if part.startswith("guide=")), None)
    return name if guide is None else f"{name} ({Path(guide).name})"


def _settings(text: str) -> Sequence[str]:
    name, _, said = text.partition(":")
    told = [part.partition("=")[0] for part in said.split(",")]
    guided = name in GUIDED_KNOBS and "guide" in told and GUIDED_KNOBS[name][0] not in told
    if text not in KNOBS and not guided:
        return [text]
    knob, values = (GUIDED_KNOBS if guided else KNOBS)[name]
    return [f"{text}{',' if guided else ':'}{knob}={value:g}" for value in values]


def usual() -> list[str]:
    """Every policy that needs no second model and nothing told."""
    return [name for name in POLICIES if _opens(name)]


def _opens(name: str) -> bool:
    try:
        parse_policy(name)
    except InputError:
        return False
    return True
