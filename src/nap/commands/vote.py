"""`nap vote`: majority vote over independent canvases, and over the paths of one canvas, with costs.

Does not decode or count votes (evaluation/vote.py).
"""

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import OmitArgPrefixes

from nap.commands import progress
from nap.commands.flags import CanvasFlags, Drawing, Loading, PromptFlags, Whole, Words
from nap.common.bounds import DECODED, check
from nap.common.files import InputError
from nap.common.text import printable, say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nap.canvas.canvas import CanvasSpec
    from nap.data.problems import Problem
    from nap.decoding.policies.policy import Policy
    from nap.evaluation.vote import Tally, Voter
    from nap.models.denoiser import Denoiser
    from nap.tasks.registry import Task


@dataclass(frozen=True, kw_only=True)
class VoteCommand:
    """Vote over canvases and over the paths of one, with the costs.

    Forwards and query tokens are means over the problems.
    """

    models: tuple[str, ...]
    """bundled names, folders or hub names"""
    task: str
    """the task of the problems; if it can read single paths, as that of arith, igsm and gsm8k, paths vote too"""
    canvases: tuple[int, ...] = (1, 2, 4, 8)
    """numbers of canvases to vote over; more than one needs --temperature"""
    policy: str = "threshold"
    """name or name:setting=value,... such as threshold:tau=0.8"""
    tokens_per_step: Whole = None
    """how many tokens a step writes, for a policy that follows a budget (default: 1)"""
    problems: int = 100
    """how many problems of the split"""
    split: str = "test"
    """train or test"""
    data: Words = None
    """the task's problems from this file"""
    stitch: tuple[float, ...] = ()
    """also solve each problem by the good steps of all chains: by the exact check of a step, wrong this often"""
    judge_problems: Whole = None
    """also by a judge of steps that learned from so many problems of the training split (with --stitch)"""
    solver: Literal["exact", "model"] = "exact"
    """what solves by the steps: exact (the steps alone), or model (it reads them on one more canvas and answers)"""
    json: bool = False
    """print one JSON object a line of the table"""
    canvas: OmitArgPrefixes[CanvasFlags] = CanvasFlags()
    prompts: OmitArgPrefixes[PromptFlags] = PromptFlags()
    drawing: OmitArgPrefixes[Drawing] = Drawing()
    loading: OmitArgPrefixes[Loading] = Loading()

    def run(self) -> None:
        """Decode, vote, print."""
        import json

        from nap.commands.tables import draw, open_console
        from nap.data.problems import check_ids
        from nap.decoding.budget import Budget
        from nap.decoding.policies.registry import parse_policy
        from nap.decoding.prompt import asked_canvas
        from nap.evaluation.stitch import check_stitching
        from nap.evaluation.vote import tallies
        from nap.models.any import load
        from nap.tasks.public import left_out_of, tell_left_out
        from nap.tasks.registry import load_task

        if not self.models or not self.canvases:
            raise InputError("a vote needs models, and numbers of canvases")
        for canvases in self.canvases:
            check("canvases", canvases, DECODED)
        check("problems", self.problems, DECODED)
        policy, task, wanted = parse_policy(self.policy), load_task(self.task), self.canvas.spec()
        budget = Budget.of(policy, self.tokens_per_step)
        budget.check(policy)
        check_stitching(task, self.stitch, self.solver, self.judge_problems)
        problems = task.load(self.split, self.problems, self.data)
        check_ids(problems, self.task)
        tell_left_out(left_out_of(problems), say, strict="")
        told = {"sampling": self.drawing.sampling(), "eos": self.drawing.eos, "seed": self.drawing.seed}
        told |= {"budget": budget, "prompting": self.prompts.prompting()}
        found: list[tuple[str, Tally]] = []
        for model in self.models:
            denoiser = load(model, **asdict(self.loading))
            spec = asked_canvas(denoiser, wanted, self.canvas.attention)
            decode = partial(self._ballots, denoiser, task, spec, policy, told)
            voters = decode(problems)
            lines = tallies(voters, sorted({*self.canvases}))
            if self.stitch:
                lines += self._stitched(denoiser, task, spec, policy, told, problems, voters, decode)
            found += [(model, line) for line in lines]
        if self.json:
            for model, tally in found:
                print(json.dumps({"model": model, **asdict(tally), "interval": tally.interval}))
            return
        header = ("model", "canvases", "voters", "forwards", "query tokens", "accuracy", "95 %")
        draw(open_console(), header, [_line(model, tally) for model, tally in found])

    def _ballots(
        self, denoiser: "Denoiser", task: "Task", spec: "CanvasSpec", policy: "Policy", told: dict[str, Any],
        problems: "Sequence[Problem]",
    ) -> "list[list[Voter]]":  # fmt: skip
        """The canvases of some problems, with a bar."""
        from nap.evaluation.vote import ballots

        found, most, name = [], max(self.canvases), printable(str(denoiser.setting.get("model")))
        with progress.bar("voted on", "starting") as bar:
            for number, problem in enumerate(problems, 1):
                found += ballots(denoiser, task, [problem], most, spec, policy, **told)
                bar.show(number, len(problems), f"({name})")
        return found

    def _stitched(
        self, denoiser: "Denoiser", task: "Task", spec: "CanvasSpec", policy: "Policy", told: dict[str, Any],
        problems: "Sequence[Problem]", voters: "list[list[Voter]]",
        decode: "Callable[[Sequence[Problem]], list[list[Voter]]]",
    ) -> "list[Tally]":  # fmt: skip
        """The lines of every judge."""
        from nap.evaluation.stitch import exact_judge, exact_solver, model_solver, stitch_tallies, trained_judge

        counts, exact = sorted({*self.canvases}), self.solver == "exact"
        solve = exact_solver(task) if exact else model_solver(denoiser, task, spec, policy, **told)
        judges = {f"noise {noise:g}": exact_judge(task, noise) for noise in self.stitch}
        if self.judge_problems:
            known = task.load("train", self.judge_problems, None)
            judge, learned = trained_judge(task, known, decode(known))
            judges[f"trained, right on {100 * learned.right:.0f} % of its steps"] = judge
        lines = []
        for name, judge in judges.items():
            lines += stitch_tallies(voters, problems, counts, f"stitched, {self.solver}, {name}", judge, solve)
        return lines


def _line(model: str, tally: "Tally") -> tuple[str, ...]:
    low, high = tally.interval
    voters = {"own": "canvases", "paths": "their paths"}.get(tally.way, tally.way)
    costs = f"{tally.forwards:.1f}", f"{tally.queries:.0f}"
    return model, str(tally.canvases), voters, *costs, f"{tally.right / tally.problems:.3f}", f"{low:.3f} to {high:.3f}"
