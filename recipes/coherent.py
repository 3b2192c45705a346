"""A small autoregressive model for the blocks of a bundled one (CoDiLA 2603.20216): `codila:guide=DIR,block=4`.

    python recipes/coherent.py --model arith-nap --task arith --out runs/coherent-arith --steps 1500

Trains on blocks of samples of the training split, as the diffusion model sees them, and then decodes problems of the
test split by blocks of 2, 4 and 8: the best token of each position alone (`threshold:tau=0`, block by block), the
small model from left to right, and the same with a beam. It also says on blocks of the test split how many nats a token
the small model and the positions alone give the samples. Expected wall time: 10 minutes of one core.

Expected numbers (seed 0; docs/systems.md). grids-nap, as above but for the model and task (2026-11-29, 100 problems):
.2003 nats a token, .3601 alone; by blocks of 2, 4 and 8 alone 1, 0 and 0 right, the small model 49, 48 and 26, with a
beam 47, 58 and 56. countdown-nap, --steps 600 --test 60: .2335 and .2761; 42, 42, 43; 43, 45, 45; 44, 45, 46.
arith-nap, --steps 100 --test 30 (2026-11-28): .1054 and .1064; by blocks of 2 and 4 alone 25 and 25, else 24 and 24.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from nap.common.files import exits_on_bad_input
from nap.decoding.coherent import Coherent, CoherentSetting, open_coherent, save_coherent
from nap.decoding.guides import fingerprint
from nap.decoding.policies.codila import Codila
from nap.decoding.policies.policy import Policy
from nap.decoding.policies.registry import parse_policy
from nap.models.denoiser import Denoiser
from nap.models.load import load
from nap.tasks.registry import Task, load_task
from nap.training.batches import lay_out
from nap.training.coherent import Block, block_loss, blocks
from nap.training.tested import tested

LONGEST = 8


def seen(denoiser: Denoiser, task: Task, first: int, count: int, split: str, rng: np.random.Generator) -> list[Block]:
    """Blocks of samples, of a size drawn for all of them."""
    assert denoiser.canvas is not None
    spec, found = denoiser.canvas, []
    for index in range(first, first + count):
        sample = task.sample(0, index, split=split)  # pyright: ignore
        canvas = lay_out(sample, spec, denoiser.tokenizer, denoiser.mask_id, denoiser.pad_id)
        found.append((canvas, canvas.ids))
    return blocks(denoiser, found, int(rng.choice([2, 4, LONGEST])), rng)


def train(denoiser: Denoiser, task: Task, arguments: argparse.Namespace) -> Coherent:
    """The small model after so many steps."""
    torch.manual_seed(arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    setting = CoherentSetting(model=fingerprint(denoiser), vocabulary=denoiser.vocabulary, block=LONGEST)
    guide = Coherent(setting)
    optimiser = torch.optim.AdamW(guide.parameters(), lr=1e-3)
    for step in range(arguments.steps):
        loss = block_loss(guide, seen(denoiser, task, step * 32, 32, "train", rng))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 50 == 0:
            print(f"step {step}: {float(loss.detach()):.4f} nats a token", flush=True)
    return guide.eval()


def main() -> None:
    """Train, save, open again and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="arith-nap")
    parser.add_argument("--task", default="arith")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--beam", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    denoiser, task = load(arguments.model), load_task(arguments.task)
    save_coherent(train(denoiser, task, arguments), arguments.out)
    guide, rng = open_coherent(str(arguments.out)), np.random.default_rng(arguments.seed + 1)
    alone = Coherent(guide.setting)
    held_out = [block for start in range(0, 160, 32) for block in seen(denoiser, task, start, 32, "test", rng)]
    with torch.no_grad():
        both = [float(block_loss(one, held_out)) for one in (guide, alone)]
    print(f"{len(held_out)} blocks: {both[0]:.4f} nats a token, alone {both[1]:.4f}", flush=True)
    policies: dict[str, Policy] = {}
    for block in (2, 4, LONGEST):
        policies[f"block {block}, alone"] = parse_policy(f"threshold:tau=0,block={block}")
        policies[f"block {block}, codila"] = Codila(guide=guide, block=block)
        policies[f"block {block}, codila, beam {arguments.beam}"] = Codila(
            guide=guide, block=block, beam=arguments.beam
        )
    for line in tested(denoiser, task, policies, arguments.test):
        print(line, flush=True)


if __name__ == "__main__":
    with exits_on_bad_input("coherent"):
        main()
