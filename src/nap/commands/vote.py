"""`nap vote`: majority vote over independent canvases, and over the paths of one canvas, with costs.

Does not decode or count votes (evaluation/vote.py).
"""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from tyro.conf import OmitArgPrefixes

from nap.commands import progress
from nap.commands.flags import CanvasFlags, Drawing, Loading, PromptFlags, Whole, Words
from nap.common.files import InputError
from nap.common.text import printable

if TYPE_CHECKING:
    from nap.evaluation.vote import Tally


@dataclass(frozen=True, kw_only=True)
class VoteCommand:
    """Vote over canvases and over the paths of one, with the costs.

    Forwards and query tokens are means over the problems.
    """

    models: tuple[str, ...]
    """bundled names, folders or hub names"""
    task: str
    """the task of the problems; if it can read single paths (arith, gsm8k, math500, multiarith), paths vote too"""
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
    """also solve each problem by the right steps of all chains, judged step by step; a judge that is wrong so often"""
    solver: Literal["exact", "model"] = "exact"
    """who solves by the steps: exact (they alone), or model (it reads them on one more canvas and answers)"""
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
        from nap.decoding.budget import Budget
        from nap.decoding.policies.registry import parse_policy
        from nap.decoding.prompt import asked_canvas
        from nap.evaluation.stitch import Stitch, exact_solver, model_solver, steps_task, stitch_tallies
        from nap.evaluation.vote import ballots, tallies
        from nap.models.any import load
        from nap.tasks.registry import load_task

        if not self.models or not self.canvases or min(self.canvases) < 1 or self.problems < 1:
            raise InputError("a vote needs models, and numbers of canvases and problems of at least 1")
        policy, task, wanted = parse_policy(self.policy), load_task(self.task), self.canvas.spec()
        budget = Budget.of(policy, self.tokens_per_step)
        budget.check(policy)
        stitches = [Stitch(noise=noise, solver=self.solver) for noise in self.stitch]
        if stitches:
            steps_task(task)
        elif self.solver != "exact":
            raise InputError(f"--solver {self.solver} is of stitching; give --stitch 0, or drop it")
        problems = task.load(self.split, self.problems, self.data)
        told = {"sampling": self.drawing.sampling(), "eos": self.drawing.eos, "seed": self.drawing.seed}
        found: list[tuple[str, Tally]] = []
        for model in self.models:
            denoiser, voters = load(model, **asdict(self.loading)), []
            spec = asked_canvas(denoiser, wanted, self.canvas.attention)
            with progress.bar("voted on", "starting") as bar:
                for number, problem in enumerate(problems, 1):
                    voters += ballots(
                        denoiser, task, [problem], max(self.canvases), spec, policy, budget=budget,
                        prompting=self.prompts.prompting(), **told,
                    )  # fmt: skip
                    bar.show(number, len(problems), f"({printable(model)})")
            counts = sorted({*self.canvases})
            found += [(model, tally) for tally in tallies(voters, counts)]
            if stitches:
                whole = {"budget": budget, "prompting": self.prompts.prompting(), **told}
                exact = self.solver == "exact"
                solve = exact_solver(task) if exact else model_solver(denoiser, task, spec, policy, **whole)
                lines = (stitch_tallies(voters, problems, counts, task, stitch, solve) for stitch in stitches)
                found += [(model, tally) for some in lines for tally in some]
        if self.json:
            for model, tally in found:
                print(json.dumps({"model": model, **asdict(tally), "interval": tally.interval}))
            return
        header = ("model", "canvases", "voters", "forwards", "query tokens", "accuracy", "95 %")
        draw(open_console(), header, [_line(model, tally) for model, tally in found])


def _line(model: str, tally: "Tally") -> tuple[str, ...]:
    low, high = tally.interval
    voters = {"own": "canvases", "paths": "their paths"}.get(tally.way, tally.way)
    costs = f"{tally.forwards:.1f}", f"{tally.queries:.0f}"
    return model, str(tally.canvases), voters, *costs, f"{tally.right / tally.problems:.3f}", f"{low:.3f} to {high:.3f}"
