"""Trains a learned policy: decodes, rewards right and quick rows, and makes their decisions likelier (2512.09106).

A group of rows is decoded for each problem: some with decisions drawn by the judge, some by experts (`threshold`),
whose decisions are treated as if the judge had drawn them. A row's reward is (1 - forwards/tokens)^power if its answer
is right, else 0. Its advantage is its reward minus the group's mean, divided by the group's spread (GRPO 2402.03300,
one update a group).

Letters: M positions of a block, N masks. Does not know the network (decoding/judge.py) or save it (the recipe does).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from nap.data.problems import Problem
from nap.decoding.engine import Engine
from nap.decoding.judge import Judge
from nap.decoding.policies.learned import Decision, Learned, seen_of
from nap.decoding.policies.policy import Edits, RowView, Said, best
from nap.decoding.prompt import canvas_of
from nap.decoding.traces import Recording
from nap.models.denoiser import Denoiser
from nap.tasks.registry import Task
from nap.training.tested import verdict


@dataclass(frozen=True, kw_only=True)
class Noting(Learned):
    """A learned policy for one row that records its decisions."""

    notes: list[Decision] = field(default_factory=list)

    def note(self, decision: Decision) -> None:
        """Append the decision to its notes."""
        self.notes.append(decision)


@dataclass(frozen=True, kw_only=True)
class Expert(Noting):
    """Decides by a threshold, and records its decisions."""

    tau: float = 0.9

    def act(self, row: RowView, said: Said) -> Edits:
        """All above the threshold, and in any case the best."""
        commit_N = said.probability_N >= self.tau
        commit_N[best(said.probability_N, 1)] = True
        self.note(Decision(seen_of(row, said), commit_N))
        return Edits(said.position_N[commit_N], said.token_N[commit_N])


@dataclass(frozen=True, kw_only=True)
class GroupSetting:
    """How a group is decoded and rewarded.

    drawn        number of rows that the judge draws, at `temperature`
    experts      thresholds of the expert rows
    power        exponent of (1 - forwards/tokens) in the reward
    """

    drawn: int = 6
    experts: tuple[float, ...] = (0.9, 0.6)
    temperature: float = 1.0
    power: float = 1.0


@dataclass(frozen=True)
class Rollout:
    """One row of a group: its decisions, whether its answer was right, and how many forwards it took."""

    decisions: list[Decision]
    correct: bool
    forwards: int
    tokens: int

    def reward(self, power: float) -> float:
        """The reward: high for a right answer in few forwards."""
        return self.correct * (1 - self.forwards / self.tokens) ** power


def rollouts(
    denoiser: Denoiser, task: Task, problems: Sequence[Problem], judge: Judge, setting: GroupSetting, seed: int
) -> list[list[Rollout]]:
    """A group for each problem, all decoded together."""
    assert denoiser.canvas is not None
    engine, rows = Engine(denoiser), []
    drawing = Noting(guide=judge, temperature=setting.temperature)
    experts = [Expert(guide=judge, tau=tau) for tau in setting.experts]
    for problem in problems:
        canvas = canvas_of(denoiser, problem, denoiser.canvas)
        for number, policy in enumerate([drawing] * setting.drawn + experts):
            own = replace(canvas, problem_id=f"{problem.id}/{number}")
            notes: list[Decision] = []
            engine.add(own, replace(policy, notes=notes), seed=seed)
            rows.append((problem, Recording(own, {}), notes))
    while engine.running:
        for step in engine.step():
            rows[step.row][1].take(step)
    found = [_judged(denoiser, task, *row) for row in rows]
    size = setting.drawn + len(experts)
    return [found[start : start + size] for start in range(0, len(found), size)]


def _judged(denoiser: Denoiser, task: Task, problem: Problem, record: Recording, decisions: list[Decision]) -> Rollout:
    trace, canvas = record.trace(denoiser), record.canvas
    correct = verdict(denoiser, task, problem, canvas, trace)
    return Rollout(decisions, correct, trace.forwards, int((canvas.region >= 0).sum()))


def group_loss(judge: Judge, groups: Sequence[Sequence[Rollout]], setting: GroupSetting) -> Tensor:
    """- mean over rows of advantage times the mean log-probability of a decision. Equal rewards add nothing."""
    losses = []
    for group in groups:
        reward = np.array([rollout.reward(setting.power) for rollout in group])
        if not (spread := float(reward.std())):
            continue
        for rollout, advantage in zip(group, (reward - reward.mean()) / spread, strict=True):
            losses.append(-advantage * log_probability(judge, rollout.decisions, setting.temperature))
    return torch.stack(losses).mean() if losses else torch.zeros((), requires_grad=True)


def log_probability(judge: Judge, decisions: Sequence[Decision], temperature: float) -> Tensor:
    """The mean log-probability of the decision on each mask, over all steps."""
    parts = []
    for seen, commit_N in decisions:
        b_M = judge(torch.from_numpy(seen.seen_M2).float(), torch.from_numpy(seen.place_M).float(), seen.share)
        b_N = b_M[torch.from_numpy(seen.seen_M2[:, 1] > 0)] / temperature
        sign_N = torch.from_numpy(np.where(commit_N, 1.0, -1.0)).float()
        parts.append(torch.nn.functional.logsigmoid(sign_N * b_N))
    return torch.cat(parts).mean()
