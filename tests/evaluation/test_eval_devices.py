"""A sweep over several devices or machines: a model on each, problems dealt out, the same bytes as one process."""

import pytest
import torch

from nap.common.files import InputError
from nap.evaluation import opened
from nap.evaluation.opened import own_device
from nap.evaluation.run import run_sweep
from nap.evaluation.sweep import Sweep
from tiny import save_tiny


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


def sweep_of(model) -> Sweep:
    return Sweep(task="arith", models=(str(model),), policies=("low_confidence",), tokens_per_step=(4,), problems=5)


def test_each_worker_process_under_cuda_has_a_device_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    found = {}
    for number in (None, 7, 8, 9):
        monkeypatch.setattr(opened, "worker_number", lambda number=number: number)
        found[number] = [own_device(name) for name in ("cuda", "cuda:1", "cpu")]
    assert found == {
        None: ["cuda", "cuda:1", "cpu"], 7: ["cuda:1", "cuda:1", "cpu"], 8: ["cuda:0", "cuda:1", "cpu"],
        9: ["cuda:1", "cuda:1", "cpu"],
    }  # fmt: skip


def test_devices_share_their_memory_with_the_workers_that_they_hold_alone(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert opened.devices("cuda") == 4 and opened.devices("cuda:2") == opened.devices("cpu") == 1
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert opened.devices("cuda") == 1


@pytest.mark.parametrize("workers", [2, 3])
def test_problems_dealt_over_processes_give_the_bytes_of_one(tiny, tmp_path, workers):
    run_sweep(sweep_of(tiny), tmp_path / "one", batch_size=1)
    run_sweep(sweep_of(tiny), tmp_path / "several", batch_size=1, workers=workers)
    assert (tmp_path / "one/rows.parquet").read_bytes() == (tmp_path / "several/rows.parquet").read_bytes()


@pytest.mark.filterwarnings("ignore")
def test_problems_dealt_over_a_ray_cluster_give_the_bytes_of_one_process(tiny, tmp_path, cluster):
    run_sweep(sweep_of(tiny), tmp_path / "one", batch_size=1)
    done = list[int]()
    run_sweep(sweep_of(tiny), tmp_path / "ray", batch_size=1, backend="ray", report=lambda now: done.append(now.done))
    assert done == [1, 2, 3, 4, 5], "each batch is kept when it is done"
    assert (tmp_path / "one/rows.parquet").read_bytes() == (tmp_path / "ray/rows.parquet").read_bytes()


def test_a_cluster_that_is_not_there_is_one_line(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(InputError, match=r"the backend 'ray' needs Ray; install it with") as caught:
        run_sweep(sweep_of(tiny), tmp_path / "run", batch_size=1, backend="ray")
    assert "\n" not in str(caught.value)
