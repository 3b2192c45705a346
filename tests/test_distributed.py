"""Two gloo processes on a LLaDA-shaped model give the losses of one: sharded by torch's FSDP2, and under the Trainer.

accelerate shards on GPUs only, so the Trainer's two processes on a CPU are DDP; FSDP2 is torch's own (see
distributed_worker.py).
"""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nap.files import InputError, read_jsonl_objects
from nap.finetune import Hyper, Job, Watch, fine_tune
from tiny import environment, recipe

LLADA = recipe("llada_8b")
WORKER = Path(__file__).parent / "distributed_worker.py"


@pytest.fixture(scope="module")
def shape(tmp_path_factory):
    """A tiny checkpoint of LLaDA's shape and sixteen samples."""
    folder = tmp_path_factory.mktemp("llada")
    LLADA.tiny(folder / "model")
    LLADA.dry_samples(folder / "samples.parquet")
    return folder


def together(command, processes):
    """Run a command in so many processes that find each other, as torchrun does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = [
        subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True,
            env=environment(
                RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes), MASTER_ADDR="127.0.0.1",
                MASTER_PORT=port, PYTHONWARNINGS="default",
            ),
        )
        for rank in range(processes)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=280)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * processes, said[0]


def test_weights_sharded_by_fsdp2_give_the_losses_of_one_process(shape, tmp_path):
    results = []
    for processes in (1, 2):
        out = tmp_path / f"{processes}.json"
        together([sys.executable, WORKER, shape / "model", shape / "samples.parquet", out], processes)
        results.append(json.loads(out.read_text()))
    one, two = results
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-4)
    assert one["losses"][0] != one["losses"][-1] and one["share"] == 1 and two["share"] < 0.6


def test_nap_train_in_two_processes_gives_the_losses_of_one(shape, tmp_path):
    flags = {
        "model": shape / "model", "data": shape / "samples.parquet", "canvas": "nap", "path-tokens": 40,
        "summary-tokens": 24, "batch-size": 8, "rows": 2, "steps": 3, "log-every": 1, "learning-rate": 1e-3,
    }  # fmt: skip
    losses = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        words = [str(word) for key, value in (flags | {"out": out}).items() for word in (f"--{key}", value)]
        together([sys.executable, "-m", "nap", "train", *words], processes)
        rows = [row for _, row in read_jsonl_objects(out / "metrics.jsonl")]
        assert [row["step"] for row in rows] == [1, 2, 3] and (out / "final/model.safetensors").is_file()
        losses.append([row["loss"] for row in rows])
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)


def test_sharding_is_refused_where_the_trainer_would_not_shard(shape, tmp_path):
    job = Job(
        model=str(shape / "model"), data=str(shape / "samples.parquet"), spec=LLADA.DRY_CANVAS.spec(),
        hyper=Hyper(steps=1, batch_size=4, fsdp=True),
    )  # fmt: skip
    with pytest.raises(InputError, match="shards on accelerators only"):
        fine_tune(job, tmp_path / "run", Watch(), lambda line: None)
