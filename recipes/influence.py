"""An influence head for a bundled model (DEMASK 2604.02560): `demask:guide=DIR`, and how near it is to the exact one.

    python recipes/influence.py --model arith-nap --task arith --out runs/influence-arith --steps 300

Trains on canvases of the training split, some of whose masks are written as the sample has them, by what writing each
mask changes at the others. Then it says, on canvases of the test split, how its influence goes with the exact one
(rank correlation over pairs; how many of the pairs above .1 it puts above .1, and how many of those that it puts there
are), and decodes problems by `demask` with the head, with the exact influence, and by thresholds. Short canvases make
the exact one affordable: one canvas for every mask. Expected wall time: 15 minutes of one core.

Expected numbers (2026-11-28, seed 0, --steps 70 --masks 24 --test 30, that is a short training; docs/systems.md;
tokens a forward with the padding of the slots, which the lines counted then):
grids-nap, rank correlation .54; tau .05 right on 29 of 30 at 3.0 tokens a forward, tau .2 on 23 at 4.8; thresholds of
.9 and .7 on 30 at 2.0 and 19 at 2.3. The exact influence, 8 problems: tau .05 all 8 at 7.1; tau .2 all 8 at 10.0.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from nap.common.files import exits_on_bad_input
from nap.data.samples import Sample
from nap.decoding.guides import fingerprint
from nap.decoding.influence import Exact, Influence, InfluenceSetting, open_influence, save_influence
from nap.decoding.policies.demask import Demask
from nap.decoding.policies.policy import Policy
from nap.decoding.policies.registry import parse_policy
from nap.models.denoiser import Denoiser, NativeDenoiser
from nap.models.load import load
from nap.tasks.registry import Task, load_task
from nap.training.batches import lay_out
from nap.training.influenced import Effects, effects, influence_loss, partly
from nap.training.tested import tested

# A pair that counts.
PAIR = 0.1


def gathered(denoiser: Denoiser, samples: Sequence[Sample], masks: int, rng: np.random.Generator) -> list[Effects]:
    """The exact influence on one canvas of each sample."""
    assert denoiser.canvas is not None
    found = []
    for sample in samples:
        full = lay_out(sample, denoiser.canvas, denoiser.tokenizer, denoiser.mask_id, denoiser.pad_id)
        found.append(effects(denoiser, full, partly(full, full.ids, denoiser.mask_id, rng), masks, rng))
    return found


def train(denoiser: Denoiser, task: Task, arguments: argparse.Namespace) -> Influence:
    """A head after so many steps of eight canvases."""
    assert isinstance(denoiser, NativeDenoiser)
    torch.manual_seed(arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    states = denoiser.model.config.hidden_size
    head = Influence(InfluenceSetting(model=fingerprint(denoiser), states=states))
    optimiser = torch.optim.AdamW(head.parameters(), lr=2e-3)
    seen: list[Effects] = []
    for step in range(arguments.steps):
        samples = [task.sample(arguments.seed, step * 4 + n) for n in range(4)]  # pyright: ignore
        seen = (seen + gathered(denoiser, samples, arguments.masks, rng))[-512:]
        for _ in range(4):
            loss = influence_loss(head, [seen[i] for i in rng.integers(0, len(seen), 16)])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if step % 20 == 0:
            print(f"step {step}: squared error {float(loss.detach()):.4f}", flush=True)  # pyright: ignore
    return head


@torch.no_grad()
def compare(head: Influence, seen: Sequence[Effects]) -> None:
    """How the head's influence goes with the exact one."""
    said, exact = [], []
    for one in seen:
        apart = ~np.eye(len(one.position_N), dtype=bool)
        said.append(head(one.states_ND, torch.from_numpy(one.position_N)).sigmoid().numpy()[apart])
        exact.append(one.influence_NN.numpy()[apart])
    said_N, exact_N = np.concatenate(said), np.concatenate(exact)
    named_N, true_N = said_N > PAIR, exact_N > PAIR
    both = (named_N & true_N).sum()
    print(
        f"{len(said_N)} pairs of {len(seen)} canvases: rank correlation {spearmanr(said_N, exact_N).statistic:.3f}, "
        f"squared error {((said_N - exact_N) ** 2).mean():.4f} (of their mean {exact_N.var():.4f}); "
        f"{true_N.mean():.3f} of the pairs are above {PAIR}: it finds {both / max(1, true_N.sum()):.3f} of them, and "
        f"{both / max(1, named_N.sum()):.3f} of those that it names are",
        flush=True,
    )


def main() -> None:
    """Train, save, open again and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="arith-nap")
    parser.add_argument("--task", default="arith")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--masks", type=int, default=24, help="masks of a canvas whose influence is computed")
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--exact", type=int, default=20, help="problems that the exact influence decodes, too")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    denoiser, task = load(arguments.model), load_task(arguments.task)
    save_influence(train(denoiser, task, arguments), arguments.out)
    head, rng = open_influence(str(arguments.out)), np.random.default_rng(arguments.seed + 1)
    held_out = [task.sample(0, index, split="test") for index in range(20)]  # pyright: ignore
    compare(head, gathered(denoiser, held_out, arguments.masks, rng))
    taus = (0.05, 0.2, 0.5, 1.0, 2.0)
    policies: dict[str, Policy] = {f"demask, tau {tau}": Demask(guide=head, tau=tau) for tau in taus}
    thresholds = {f"threshold, tau {tau}": parse_policy(f"threshold:tau={tau}") for tau in (0.9, 0.7, 0.5)}
    for line in tested(denoiser, task, policies | thresholds, arguments.test):
        print(line, flush=True)
    if arguments.exact:
        exact = {f"demask, exact, tau {tau}": Demask(guide=Exact(denoiser), tau=tau) for tau in taus}
        for line in tested(denoiser, task, policies | exact, arguments.exact):
            print(line, flush=True)


if __name__ == "__main__":
    with exits_on_bad_input("influence"):
        main()
