"""A checkpoint is whole when its manifest says so; whatever happens to a newer one, the one before is taken."""

import random
import shutil
from pathlib import Path

import pytest

from nap.training.checkpoints import fault, forget_others, newest_checkpoint, seal

FILES = (
    "model.safetensors",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state_0.pth",
    "trainer_state.json",
    "shards/0.distcp",
)


def checkpoint(folder: Path, steps: int) -> Path:
    made, draw = folder / f"checkpoint-{steps}", random.Random(steps)
    for name in FILES:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(draw.randbytes(200))
    seal(made)
    return made


def flip(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def cut(path: Path, draw: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])


def replace_by_a_folder(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.mkdir()


MUTATIONS = {
    "flip": flip,
    "cut": cut,
    "empty": lambda path, draw: path.write_bytes(b""),
    "missing": lambda path, draw: path.unlink(),
    "longer": lambda path, draw: path.write_bytes(path.read_bytes() + b"\n"),
    "zeros": lambda path, draw: path.write_bytes(bytes(path.stat().st_size)),
    "folder": replace_by_a_folder,
}


def test_whatever_happens_to_a_file_of_the_newest_the_one_before_is_taken_and_it_is_said(tmp_path: Path) -> None:
    """Seventy mutations, drawn at random."""
    draw = random.Random(20)
    good = checkpoint(tmp_path, 3)
    for number in range(70):
        newest = checkpoint(tmp_path, 6)
        assert fault(newest) is None and newest_checkpoint(tmp_path) == str(newest)
        name, mutation = draw.choice([*FILES, "manifest.json"]), [*MUTATIONS][number % len(MUTATIONS)]
        MUTATIONS[mutation](newest / name, draw)
        said: list[str] = []
        assert newest_checkpoint(tmp_path, said.append) == str(good), (mutation, name)
        assert len(said) == 1 and "checkpoint-6 is not whole (" in said[0] and "\n" not in said[0]
        shutil.rmtree(newest)


def test_files_of_two_saves_make_no_whole_checkpoint(tmp_path: Path) -> None:
    one, other = checkpoint(tmp_path, 3), checkpoint(tmp_path, 6)
    shutil.copy(one / "optimizer.pt", other / "optimizer.pt")
    assert fault(other) == "optimizer.pt is not what was written"
    assert fault(other, sizes_only=True) is None


def test_what_is_no_checkpoint_is_no_checkpoint(tmp_path: Path) -> None:
    for name in ("checkpoint-", "checkpoint-x", "checkpoint-²", f"checkpoint-{'9' * 5000}"[:200], "checkpoints"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-9").write_text("a file")
    said: list[str] = []
    assert newest_checkpoint(tmp_path, said.append) is None and not said
    assert newest_checkpoint(tmp_path / "absent") is None


@pytest.mark.parametrize("damaged", [4, 6])
def test_two_whole_checkpoints_are_kept_and_damaged_ones_never_in_their_place(tmp_path: Path, damaged: int) -> None:
    """Whether what is damaged was passed or is still ahead, where a run fell back past it."""
    for steps in (1, 2, 3, 4, 6):
        checkpoint(tmp_path, steps)
    (tmp_path / f"checkpoint-{damaged}/optimizer.pt").unlink()
    if damaged == 4:
        shutil.rmtree(tmp_path / "checkpoint-6")
    forget_others(checkpoint(tmp_path, 5))
    kept = {4: ["checkpoint-3", "checkpoint-5"], 6: ["checkpoint-4", "checkpoint-5"]}
    assert sorted(path.name for path in tmp_path.iterdir()) == kept[damaged]
