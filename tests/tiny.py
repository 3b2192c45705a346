"""A tiny random checkpoint for the arith task, made by the bundled models' recipe; `nap` as a process; a full disk."""

import importlib.util
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from nap.canvas.canvas import CanvasSpec

RECIPES = Path(__file__).parent.parent / "recipes"
# Positions of a canvas: 3 paths and a summary.
SPEC = CanvasSpec(paths=3, path_tokens=6, summary_tokens=2)
SLOTS = 20
QUESTION = "Ann has 5 pears . Bob has 3 more than Ann . How many has Bob ?"

torch.set_num_threads(1)
logging.disable_progress_bar()


def recipe(name: str) -> ModuleType:
    """A recipe as a module; its folder is no package."""
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", RECIPES / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def tiny_model(tokenizer: Any, seed: int = 0, **config: Any) -> LlamaForCausalLM:
    """One layer of random weights, so far apart that its candidates are."""
    torch.manual_seed(seed)
    known: dict[str, Any] = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.pad_token_id}
    known |= {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    known |= {"max_position_embeddings": 128, "initializer_range": 1.0, "tie_word_embeddings": False}
    known |= {"bos_token_id": None}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **known | config))


def save_tiny(folder: Path, seed: int = 0, spec: CanvasSpec = SPEC, **config: Any) -> Path:
    bundled = recipe("bundled")
    tokenizer = bundled.build_tokenizer("arith")
    bundled.save(tiny_model(tokenizer, seed, **config), tokenizer, spec, folder, {})
    return folder


def change_json(path: Path, **changes: Any) -> None:
    """Change some keys of a JSON object in a file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


NAP = "from nap.cli import main; main()"


def environment(**changes: str) -> dict[str, str]:
    """One thread, no terminal's wishes, and a home without anybody's settings."""
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "TERM")}
    return kept | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "error"} | changes


def nap(*arguments: object, code: str = NAP, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    settings: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 300, "env": environment()}
    return subprocess.run(command, **settings | options)


@contextmanager
def disk_full_after(bytes_per_file: int) -> Iterator[None]:
    """No file may become larger."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_per_file, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
