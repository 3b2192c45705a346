"""The environment says which process of how many this is, whole or not at all, and never how to train."""

import os

import pytest
from test_finetune import WATCH, job, place, quiet

from nap.common.files import InputError
from nap.training.finetune import fine_tune
from nap.training.processes import MPI, TORCHRUN, check_environment, own_environment, which_process

__all__ = ["place"]
WHOLE = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture
def env(monkeypatch):
    """`env(NAME=value)` sets these alone."""

    def only(**names):
        for name in [*TORCHRUN, *MPI, *(name for name in os.environ if name.startswith("ACCELERATE_"))]:
            monkeypatch.delenv(name, raising=False)
        for name, value in names.items():
            monkeypatch.setenv(name, value)

    only()
    return only


@pytest.mark.parametrize(
    ("names", "process"),
    [
        ({}, (0, 1)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, (0, 1)),
        ({"LOCAL_RANK": "-1", "RANK": "-1"}, (0, 1)),
        ({"PMI_SIZE": "1"}, (0, 1)),
        (WHOLE, (1, 2)),
        (WHOLE | {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}, (0, 1)),
        (WHOLE | {"PMI_SIZE": "4"}, (1, 2)),
    ],
    ids=str,
)
def test_a_process_is_what_the_whole_environment_says(env, names, process):
    env(**names)
    assert which_process() == process


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"RANK": "1"}, "says RANK=1, .* lacks WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT; torchrun"),
        ({"RANK": "x"}, "RANK in the environment must be a whole number, got 'x'"),
        ({"RANK": ""}, "RANK in the environment must be a whole number, got ''"),
        ({"WORLD_SIZE": "2"}, "lacks RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT"),
        ({"LOCAL_RANK": "0"}, "lacks RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT"),
        ({name: WHOLE[name] for name in TORCHRUN if name != "LOCAL_RANK"}, "lacks LOCAL_RANK;"),
        (WHOLE | {"MASTER_ADDR": ""}, "lacks MASTER_ADDR;"),
        (WHOLE | {"MASTER_PORT": "http"}, "MASTER_PORT in the environment must be a whole number"),
        (WHOLE | {"RANK": "2"}, "RANK=2 is none of WORLD_SIZE=2 processes"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "OMPI_COMM_WORLD_SIZE=2 in the environment is MPI's"),
    ],
    ids=str,
)
def test_half_of_an_environment_is_refused(env, names, said):
    env(**names)
    with pytest.raises(InputError, match=said):
        which_process()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RANK", "1", "torchrun"),
        ("WORLD_SIZE", "2", "for one process, unset them"),
        ("ACCELERATE_MIXED_PRECISION", "bf16", "contradicts dtype float32"),
    ],
)
def test_nothing_is_written_where_the_environment_contradicts(place, tmp_path, env, name, value, said):
    env(**{name: value})
    with pytest.raises(InputError, match=said):
        fine_tune(job(place), tmp_path / "run", WATCH, quiet)
    assert not (tmp_path / "run").exists()


def test_a_setting_of_accelerates_is_followed_by_a_flag_or_refused(env):
    for dtype, gpu in (("float32", True), ("bfloat16", False)):
        # What `accelerate launch` exports where nothing is asked for.
        env(ACCELERATE_MIXED_PRECISION="no", ACCELERATE_DYNAMO_BACKEND="NO", ACCELERATE_USE_CPU="False")
        check_environment(dtype, gpu=gpu)
    env(ACCELERATE_MIXED_PRECISION="bf16", ACCELERATE_USE_CPU="true")
    check_environment("bfloat16", gpu=False)
    with pytest.raises(InputError, match=r"ACCELERATE_USE_CPU=true .* not followed here; .*CUDA_VISIBLE_DEVICES="):
        check_environment("bfloat16", gpu=True)
    for precision in ("fp16", "FP8"):
        env(ACCELERATE_MIXED_PRECISION=precision)
        with pytest.raises(InputError, match=f"{precision.lower()} .* contradicts dtype bfloat16"):
            check_environment("bfloat16", gpu=True)
    env(ACCELERATE_USE_FSDP="true")
    with pytest.raises(InputError, match="torchrun with --fsdp shards the weights"):
        check_environment("float32", gpu=True)


def test_the_environment_is_as_it_was_after_a_training(env):
    env(ACCELERATE_MIXED_PRECISION="bf16", FSDP_VERSION="1")
    with own_environment():
        assert not [name for name in os.environ if name.startswith(("ACCELERATE_", "FSDP_"))]
        os.environ |= {"FSDP_VERSION": "2", "ACCELERATE_USE_FSDP": "true"}
    assert os.environ["ACCELERATE_MIXED_PRECISION"] == "bf16" and os.environ["FSDP_VERSION"] == "1"
    assert "ACCELERATE_USE_FSDP" not in os.environ
