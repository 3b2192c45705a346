"""Two gloo processes on a LLaDA-shaped model give the losses of one, each with the whole model or with its shard."""

import json
import shutil
import socket
import subprocess
import sys

import pytest

from nap.canvas.canvas import CanvasSpec
from nap.common.files import InputError
from nap.models.load import load
from nap.training.finetune import fine_tune
from nap.training.settings import Hyper, Job, Watch
from tiny import NAP as ITSELF
from tiny import environment, recipe

LLADA = recipe("llada_8b")
# `nap`, and at the end the share of the weights that this process had. On a CPU accelerate leaves `fsdp` out: here it
# is told to shard there too.
NAP = """
import sys
import nap.training.trainer
from accelerate import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from nap.cli import main
made = nap.training.trainer.DiffusionTrainer.create_accelerator_and_postprocess
def sharding(trainer):
    made(trainer)
    state = trainer.accelerator.state
    if not trainer.args.fsdp or state.distributed_type != DistributedType.MULTI_CPU:
        return
    # transformers 4 gives the plugin its settings by the environment.
    state.fsdp_plugin = FullyShardedDataParallelPlugin(**getattr(trainer.args, "fsdp_plugin_args", {}))
    if state.mixed_precision != "no":
        state.fsdp_plugin.set_mixed_precision(state.mixed_precision)
    # Every later view of the state is made of the first.
    PartialState().distributed_type = state.distributed_type = DistributedType.FSDP
    trainer.is_fsdp_enabled = True
nap.training.trainer.DiffusionTrainer.create_accelerator_and_postprocess = sharding
whole = nap.training.trainer.run_trainer
def counted(*arguments, **options):
    trainer = whole(*arguments, **options)
    weights = list(trainer.model.parameters())
    own = sum((w.to_local() if hasattr(w, "to_local") else w).numel() for w in weights)
    print(f"share {own / sum(w.numel() for w in weights):.2f}", file=sys.stderr)
    return trainer
nap.training.trainer.run_trainer = counted
main()
"""


@pytest.fixture(scope="module")
def shape(tmp_path_factory):
    """A tiny checkpoint of LLaDA's shape and sixteen samples."""
    folder = tmp_path_factory.mktemp("llada")
    LLADA.tiny(folder / "model")
    LLADA.dry_samples(folder / "samples.parquet")
    return folder


def together(processes, *arguments, code=NAP, returns=0):
    """Run `nap` in so many processes that find each other, as torchrun does. What each said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)], stderr=subprocess.PIPE, text=True,
            env=environment(
                RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes), MASTER_ADDR="127.0.0.1",
                MASTER_PORT=port, PYTHONWARNINGS="default",
                # Sharded weights are rounded to bfloat16 where others are used in bfloat16: both are kept from it.
                ONEDNN_MAX_CPU_ISA="AVX2",
            ),
        )
        for rank in range(processes)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=280)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [returns] * processes, said[0]
    return said


def trained(shape, out, processes, *more):
    """What the processes said, and the losses of four steps."""
    flags = {
        "model": shape / "model", "data": shape / "samples.parquet", "canvas": "nap", "path-tokens": 40,
        "summary-tokens": 24, "batch-size": 8, "rows": 2, "steps": 4, "log-every": 1, "save-every": 2,
        "learning-rate": 1e-3, "out": out,
    }  # fmt: skip
    words = [word for key, value in flags.items() for word in (f"--{key}", value)]
    said = together(processes, "train", *words, *more)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    return said, [row["loss"] for row in rows]


@pytest.fixture(scope="module")
def alone(shape):
    """The losses of one process."""
    said, losses = trained(shape, shape / "alone", 1)
    assert "share 1.00" in said[0]
    return losses


def test_two_processes_with_the_whole_model_each_give_the_losses_of_one(shape, alone, tmp_path):
    said, losses = trained(shape, tmp_path, 2)
    assert all("share 1.00" in one for one in said)
    assert losses == pytest.approx(alone, abs=1e-4)


def test_two_processes_with_sharded_weights_give_the_losses_of_one_and_resume_to_the_same(shape, alone, tmp_path):
    said, losses = trained(shape, tmp_path, 2, "--fsdp", "--checkpointing")
    assert all("share 0.5" in one for one in said)
    assert losses == pytest.approx(alone, abs=1e-4)
    assert load(str(tmp_path / "final")).canvas == CanvasSpec(paths=3, path_tokens=40, summary_tokens=24)
    weights = (tmp_path / "final/model.safetensors").read_bytes()
    # What a kill leaves.
    for name in ("final", "checkpoint-4"):
        shutil.rmtree(tmp_path / name)
    said, again = trained(shape, tmp_path, 2, "--fsdp", "--checkpointing")
    assert "going on from step 2 of 4" in said[0] and again == losses
    assert (tmp_path / "final/model.safetensors").read_bytes() == weights


def test_sharding_without_a_gpu_is_refused_and_not_left_out_in_silence(shape, tmp_path):
    arguments = ["--model", shape / "model", "--data", shape / "samples.parquet", "--canvas", "nap", "--steps", "1"]
    arguments += ["--path-tokens", 40, "--summary-tokens", 24, "--batch-size", 4, "--out", tmp_path / "run", "--fsdp"]
    said = together(2, "train", *arguments, code=ITSELF, returns=2)
    assert "nap: fsdp shards weights over GPUs, and this machine has none" in said[0]


@pytest.mark.parametrize(
    ("processes", "watch", "message"),
    [
        (1, Watch(), "start it with torchrun --nproc-per-node"),
        (2, Watch(eval_task="arith"), "no process has the whole model to decode with"),
    ],
)
def test_sharding_is_refused_where_it_cannot_be(shape, tmp_path, monkeypatch, processes, watch, message):
    said = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 29500}
    for name, value in said.items():
        monkeypatch.setenv(name, str(value))
    job = Job(
        model=str(shape / "model"), data=str(shape / "samples.parquet"), spec=LLADA.DRY_CANVAS.spec(),
        hyper=Hyper(steps=1, batch_size=4, fsdp=True),
    )  # fmt: skip
    with pytest.raises(InputError, match=message):
        fine_tune(job, tmp_path / "run", watch, lambda line: None)
    assert not (tmp_path / "run").exists()
