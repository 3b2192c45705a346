"""What a training says of its samples before it starts, and writes into the card."""

from dataclasses import replace

import pytest
import torch
from test_finetune import LLADA, SPEC, WATCH, job, place

from nap.canvas.canvas import CanvasSpec
from nap.data.samples import Path, read_samples, write_samples
from nap.training.finetune import fine_tune
from nap.training.settings import Objective

__all__ = ["place"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 1.0, "batch_size": 16}, "2 x 16 samples are 0.8 epochs: each is seen 0 or 1 times"),
        ({"epochs": 3.0, "batch_size": 120}, "a batch holds more than the 40 there are, so lower --batch-size"),
        ({"epochs": 1.0, "batch_size": 20}, ""),
    ],
    ids=str,
)
def test_it_says_how_often_each_sample_is_seen_where_that_is_not_as_one_expects(place, tmp_path, changes, said):
    told = []
    final = fine_tune(job(place, steps=0, **changes), tmp_path / "run", WATCH, told.append)
    lines = [line for line in told if "epochs" in line]
    assert len(lines) == bool(said) and all(said in line for line in lines)
    seen = "0.8, each sample seen 0 or 1 times" if "0.8" in said else f"{changes['epochs']:g}, each sample seen"
    assert f"| epochs | {seen}" in (final / "README.md").read_text()


@pytest.mark.parametrize(
    ("objective", "said"),
    [("mask", "GPUs; torchrun --nproc-per-node 4 -m nap train uses all"), ("edit", "GPUs")],
)
def test_it_says_that_one_of_several_gpus_is_used_and_how_all_are(place, tmp_path, monkeypatch, objective, said):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    told, made = [], replace(job(place, steps=1, batch_size=1), objective=Objective(objective=objective))
    fine_tune(made, tmp_path / "run", WATCH, told.append)
    assert [line for line in told if "GPU" in line] == [f"this trains on one of 4 {said}"]


def test_summaries_without_a_slot_and_masks_in_prompts_are_told(place, tmp_path):
    plain = CanvasSpec(paths=1, path_tokens=100, summary_tokens=0, tags="none")
    samples = [*read_samples(place / "samples.parquet")]
    first = samples[0].problem
    samples[0] = replace(samples[0], problem=replace(first, prompt=f"{first.prompt} <mask>"))
    write_samples(samples, tmp_path / "samples.parquet")
    for spec, unsaid in ((plain, 40), (SPEC, 0)):
        told, made = [], replace(job(place, spec=spec, steps=1), data=str(tmp_path / "samples.parquet"))
        card = (fine_tune(made, tmp_path / spec.kind, WATCH, told.append) / "README.md").read_text()
        lines = [
            line for line in told if line == f"the {unsaid} summaries have no slot on this canvas and are not trained"
        ]
        assert len(lines) == bool(unsaid) and f"| summaries without a slot, not trained | {unsaid} |" in card
        assert [line for line in told if "the model's own mask token" in line and line.endswith("them: 1")]
        assert "| prompts with the mask token | 1 |" in card


def test_a_path_that_fits_no_slot_but_its_own_stops_no_training_under_shuffle(place, tmp_path):
    """`</think 10>` of text is a token longer than `</think 1>`."""
    LLADA.tiny(tmp_path / "model")
    room = 30 - len("</think 1>")
    one = next(read_samples(place / "samples.parquet"))
    one = replace(one, problem=replace(one.problem, prompt="?"))
    fits, full = (
        replace(one, paths=tuple(Path(text="x" * size) for size in (first, *[1] * 9))) for first in (room - 1, room)
    )
    write_samples([fits, full, full], tmp_path / "samples.parquet")
    made = replace(
        job(place, spec=CanvasSpec(paths=10, path_tokens=30, summary_tokens=40), steps=4, batch_size=4, rows=4),
        model=str(tmp_path / "model"), data=str(tmp_path / "samples.parquet"), add_tags=False,
    )  # fmt: skip
    for shuffle, count in ((False, 3), (True, 1)):
        told = []
        run = tmp_path / f"run-{shuffle}"
        fine_tune(replace(made, hyper=replace(made.hyper, shuffle_paths=shuffle)), run, WATCH, told.append)
        assert told[0].startswith(f"{count} of 3 samples of")
    assert "path 1 takes 31 tokens with the longest closing tag" in (run / "dropped.jsonl").read_text()
