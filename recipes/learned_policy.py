"""Trains a learned policy for a bundled model (2512.09106), `learned:guide=DIR`, and compares it with thresholds.

    python recipes/learned_policy.py --model arith-nap --task arith --out runs/judge-arith --updates 60

Trains on problems of the training split, new ones for each update, and then decodes problems of the test split by
the learned policy and by thresholds of .9, .7 and .5. Expected wall time: 10 minutes of one core.

Expected numbers (2026-11-28, seed 0, 200 problems; right, and tokens a forward with the padding of the slots, which the
lines counted then): arith-nap, 40 updates: learned 176, 93.0; thresholds 172, 8.0; 175, 12.5; 175, 40.8. countdown-nap,
30 updates: learned 154, 78.0; thresholds of .9 and .7 159, 3.0; 167, 6.6. Both learn to commit everything at once, in
one forward. On arith that costs nothing; on countdown it costs 13 problems of 200 against the best threshold. With
--power 0.2 and 16 updates it learns the same (154, 78.0), because on these models the quick rows of a group are right
about as often as the slow ones. grids-nap, 16 updates, 100 problems (2026-11-29): learned 100 at 1.0 tokens a forward;
thresholds 100, 2.0; 74, 2.3; 0, 11.1. Its draws became quicker and wrong (42 to 29 right of 48), and its best decision
is still one token at a time.
"""

import argparse
from pathlib import Path

import torch

from nap.common.files import exits_on_bad_input
from nap.decoding.guides import fingerprint
from nap.decoding.judge import Judge, JudgeSetting, open_judge, save_judge
from nap.decoding.policies.learned import Learned
from nap.decoding.policies.policy import Policy
from nap.decoding.policies.registry import parse_policy
from nap.models.denoiser import Denoiser
from nap.models.load import load
from nap.tasks.registry import Task, load_task
from nap.training.judged import GroupSetting, group_loss, rollouts
from nap.training.tested import tested


def train(denoiser: Denoiser, task: Task, arguments: argparse.Namespace) -> Judge:
    """A judge after so many updates."""
    torch.manual_seed(arguments.seed)
    judge, setting = Judge(JudgeSetting(model=fingerprint(denoiser))), GroupSetting(power=arguments.power)
    optimiser = torch.optim.AdamW(judge.parameters(), lr=3e-3)
    problems = task.load("train", arguments.updates * arguments.problems, None)
    for update in range(arguments.updates):
        chosen = problems[update * arguments.problems : (update + 1) * arguments.problems]
        groups = rollouts(denoiser, task, chosen, judge, setting, seed=arguments.seed * 10**6 + update)
        loss = group_loss(judge, groups, setting)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
        optimiser.step()
        drawn = [rollout for group in groups for rollout in group[: setting.drawn]]
        right, forwards = sum(r.correct for r in drawn), sum(r.forwards for r in drawn)
        print(f"update {update + 1}: right {right} of {len(drawn)}, {forwards / len(drawn):.1f} forwards", flush=True)
    return judge


def main() -> None:
    """Train, save, open again and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="arith-nap")
    parser.add_argument("--task", default="arith")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("--problems", type=int, default=8, help="problems of an update")
    parser.add_argument("--power", type=float, default=1.0, help="how much speed counts")
    parser.add_argument("--test", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    denoiser, task = load(arguments.model), load_task(arguments.task)
    save_judge(train(denoiser, task, arguments), arguments.out)
    policies: dict[str, Policy] = {"learned": Learned(guide=open_judge(str(arguments.out)))}
    policies |= {f"threshold:tau={tau}": parse_policy(f"threshold:tau={tau}") for tau in (0.9, 0.7, 0.5)}
    for line in tested(denoiser, task, policies, arguments.test):
        print(line, flush=True)


if __name__ == "__main__":
    with exits_on_bad_input("learned_policy"):
        main()
