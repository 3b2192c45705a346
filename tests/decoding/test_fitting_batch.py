"""A batch is as large as there is memory for, by the model's shape."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from nap.common import machine
from nap.common.files import InputError
from nap.decoding import batches
from nap.decoding.batches import USUAL, fitting_batch, row_bytes
from nap.evaluation.run import run_sweep
from nap.evaluation.sweep import Sweep
from nap.models.packed import copies, use_packed
from tiny import QUESTION, environment, save_tiny

# LLaDA-8B's shape.
LLADA = {
    "hidden_size": 4096, "intermediate_size": 12288, "num_attention_heads": 32, "num_hidden_layers": 32,
    "vocab_size": 126464,
}  # fmt: skip


@dataclass
class Model:
    shape: dict[str, int]
    dtype: torch.dtype = torch.bfloat16

    @property
    def config(self) -> Any:
        return SimpleNamespace(**self.shape, to_dict=lambda: self.shape)

    def parameters(self) -> list[torch.Tensor]:
        return [torch.empty(8 * 10**9, dtype=self.dtype, device="meta")]

    def modules(self) -> list[torch.nn.Module]:
        return []


@dataclass
class Shaped:
    model: Model = field(default_factory=lambda: Model(LLADA))
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def fit(monkeypatch, free: int | None, **options: Any) -> batches.Fit:
    monkeypatch.setattr(batches, "free_memory", lambda device: free)
    return fitting_batch(Shaped(), 1024, **options)  # pyright: ignore[reportArgumentType]


def test_rows_grow_with_the_memory_up_to_what_is_usual(monkeypatch) -> None:
    found = [fit(monkeypatch, free * 10**9).rows for free in (0, 1, 2, 4, 8, 1000)]
    assert found == sorted(found) and found[0] == 1 and found[-1] == USUAL and len(set(found)) > 3
    assert fit(monkeypatch, 10**12, most=500).rows == 500


def test_what_the_processes_of_a_sweep_share_is_divided_and_each_has_its_own_weights(monkeypatch) -> None:
    free = 40 * 10**9
    # 16 GB of weights are freed here and taken twice: 12 GB are left for each of two.
    assert fit(monkeypatch, free, processes=2).free == (40 - 16) * 10**9 // 2
    assert fit(monkeypatch, free, processes=8).rows == 1


def test_packed_weights_that_are_still_to_be_made_are_kept_free_in_every_process(monkeypatch) -> None:
    model, free = Model(LLADA), 40 * 10**9
    layers = [torch.nn.Linear(1000, 1000, bias=False, device="meta") for _ in range(250)]
    monkeypatch.setattr(Model, "modules", lambda self: layers)
    use_packed(model)
    monkeypatch.setattr(Shaped, "model", model, raising=False)
    assert copies(model) == (0, 10**9)
    assert fit(monkeypatch, free).free == free - 10**9
    assert fit(monkeypatch, free, processes=2).free == (40 - 16) * 10**9 // 2 - 10**9
    for layer in layers[:100]:
        monkeypatch.setattr(layer, "_packed", layer.weight.detach())
    # What is made is no longer free here; another process makes its own.
    assert copies(model) == (4 * 10**8, 6 * 10**8)
    assert fit(monkeypatch, free).free == free - 6 * 10**8
    assert fit(monkeypatch, free, processes=2).free == (40 * 10**9 - 164 * 10**8) // 2 - 6 * 10**8


def test_what_is_not_known_changes_nothing(monkeypatch) -> None:
    assert fit(monkeypatch, None).rows == USUAL
    assert row_bytes(SimpleNamespace(device=torch.device("cpu")), 100) is None  # pyright: ignore[reportArgumentType]


def test_it_says_what_it_chose_and_what_does_not_fit(monkeypatch) -> None:
    assert "batches of 16: a row takes about" in str(fit(monkeypatch, 10**12))
    assert "1000.0 GB are free" in str(fit(monkeypatch, 10**12))
    assert "even one may not fit" in str(fit(monkeypatch, 10**8))
    assert str(fit(monkeypatch, None)) == "batches of 16"


@pytest.mark.parametrize(("left", "groups"), [(300, 2), (300, 1), (None, 0)])
def test_a_containers_limit_is_what_is_free(tmp_path: Path, left: int | None, groups: int) -> None:
    names = {2: machine.GROUP_2, 1: machine.GROUP_1}.get(groups, ())
    for name, text in zip(names, ("1000", "900", "anon 5\ninactive_file 200\n"), strict=False):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine.left_of_group(tmp_path) == left
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.left_of_group(tmp_path) == (left if groups == 1 else None)


def test_linux_says_what_isavailable(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    4 kB\n")
    assert machine.available(tmp_path / "meminfo") == 4096
    assert machine.available(tmp_path / "none") is None


MEASURE = """
import json, sys, torch
from nap.canvas.canvas import CanvasSpec, layout
from nap.common.memory import keep_memory
from nap.decoding.batches import row_bytes
from nap.decoding.budget import Budget
from nap.decoding.engine import Engine
from nap.decoding.policies.registry import parse_policy
from nap.models.load import load
torch.set_num_threads(1)
keep_memory()
denoiser, peaks = load(sys.argv[1], mask_id=3), []
for rows in (2, 8):
    engine = Engine(denoiser)
    for row in range(rows):
        spec = CanvasSpec(paths=1, path_tokens=1020, summary_tokens=0, tags="none")
        canvas = layout([5, 6], spec, denoiser.tokenizer, 3, problem_id=str(row))
        engine.add(canvas, parse_policy("low_confidence"), budget=Budget(tokens=1))
    engine.step()
    # Not getrusage, which says what the process held that started this one.
    peaks += [int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(json.dumps({"a row": (peaks[1] - peaks[0]) / 6, "said": row_bytes(denoiser, 1022)}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is Linux's")
def test_what_a_row_takes_is_about_what_is_said(tmp_path: Path) -> None:
    config = LlamaConfig(
        vocab_size=1000, hidden_size=512, intermediate_size=2048, num_hidden_layers=2, num_attention_heads=8,
        max_position_embeddings=2048, pad_token_id=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=True, env=environment()
    )
    found = json.loads(done.stdout)
    assert 0.6 * found["a row"] < found["said"] < 2.5 * found["a row"], found


def test_a_sweep_says_its_batch_and_takes_what_is_asked_for(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "p.jsonl").write_text(json.dumps({"id": "p", "prompt": QUESTION, "answer": "8"}) + "\n")
    model = str(save_tiny(tmp_path / "m"))
    sweep = Sweep(
        task="jsonl", data=str(tmp_path / "p.jsonl"), models=(model,), policies=("ar",), steps=(2,), problems=1
    )
    said: list[str] = []
    run_sweep(sweep, tmp_path / "a", say=said.append)
    assert len(said) == 1 and "batches of 16: a row takes about" in said[0]
    run_sweep(sweep, tmp_path / "b", batch_size=4, say=said.append)
    assert len(said) == 1
    monkeypatch.setattr(batches, "free_memory", lambda device: 1)
    run_sweep(sweep, tmp_path / "c", batch_size=4, say=said.append)
    assert said[1].endswith("even one may not fit: shorten the canvas, or free memory; 4 are asked for")
    with pytest.raises(InputError, match="batch size must be at least 1, got 0"):
        run_sweep(sweep, tmp_path / "d", batch_size=0)
