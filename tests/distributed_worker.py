"""One of two gloo processes: the losses of a LLaDA-shaped model whose weights are sharded by FSDP2.

    RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 python tests/distributed_worker.py MODEL SAMPLES OUT

WORLD_SIZE=1 computes the same without sharding. accelerate shards on GPUs only, so that `nap train --fsdp` cannot be
run on a CPU: this is torch's FSDP2 itself around NAP's batches, masks and loss, with two steps of SGD between losses.
"""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from nap.batches import DiffusionBatches
from nap.canvas import CanvasSpec
from nap.denoiser import predicted_from
from nap.grow import Start, open_start
from nap.loss import masked_loss
from nap.schema import read_samples

SPEC = CanvasSpec(paths=3, path_tokens=40, summary_tokens=24)
STEPS = 3


def part_loss(model: torch.nn.Module, start: Start, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    logits_BLV = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
    at = batch["rows"], predicted_from(batch["positions"], start.shift)
    return masked_loss(logits_BLV[at], batch["targets"], batch["weights"])


def main(model: str, samples: str, out: str) -> None:
    torch.set_num_threads(1)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    start = open_start(model, None, SPEC.special_tokens, shift=None, dtype=torch.float32)
    found = list(read_samples(samples))
    batches = DiffusionBatches(
        lambda index: found[index % len(found)], SPEC, start.tokenizer, mask_id=start.ids.mask_id,
        pad_id=start.ids.pad_id, batch_size=8, batches=STEPS, seed=0, parts=world,
    )  # fmt: skip
    network = start.model.train()
    if world > 1:
        from torch.distributed.fsdp import fully_shard

        dist.init_process_group("gloo")
        mesh = dist.init_device_mesh("cpu", (world,))
        for layer in network.model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(network, mesh=mesh)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    losses, share = [], sum(p.to_local().numel() if world > 1 else p.numel() for p in network.parameters())
    for step in range(STEPS):
        loss = part_loss(network, start, batches[step * world + rank])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        mean = loss.detach().clone()
        if world > 1:
            dist.all_reduce(mean)
        losses.append(mean.item() / world)
    whole = sum(p.numel() for p in network.parameters())
    if rank == 0:
        Path(out).write_text(json.dumps({"losses": losses, "share": share / whole}))
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
