"""Train the bundled models: the same trajectories as one long chain and as three parallel paths.

    python recipes/bundled.py                              # all four, two at a time
    python recipes/bundled.py --task arith --canvas nap    # one of them

Expected wall time: see docs/models.md. Resumable: run the same command again after a kill.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from nap.canvas import CanvasSpec
from nap.schema import Sample, concatenated
from nap.tasks.arith import ITEMS, NAMES, Arith
from nap.tasks.countdown import Countdown

ROOT = Path(__file__).resolve().parent.parent
TASKS = {"arith": Arith(), "countdown": Countdown()}
ARITH_WORDS = "has more fewer than and together How many ? . ; + - ="
COUNTDOWN_WORDS = "numbers target ; + - * / = ( )"
WORDS = {
    "arith": [*NAMES, *ITEMS, *map(str, range(41)), *ARITH_WORDS.split()],
    "countdown": [*"0123456789", *[f"##{d}" for d in range(10)], *COUNTDOWN_WORDS.split()],
}
# Long enough for the longest solution, so that nothing is drawn in vain. The two canvases of a task are equally long.
SLOTS = {"arith": (30, 3), "countdown": (22, 12)}


def canvas_of(task: str, kind: str) -> CanvasSpec:
    path_tokens, summary_tokens = SLOTS[task]
    if kind == "nap":
        return CanvasSpec(paths=3, path_tokens=path_tokens, summary_tokens=summary_tokens)
    return CanvasSpec(paths=1, path_tokens=3 * path_tokens + 2, summary_tokens=summary_tokens)


def build_tokenizer(task: str) -> Any:
    """A whole-word tokenizer; numbers of countdown are written digit by digit."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<mask>", "<unk>", *canvas_of(task, "nap").special_tokens]
    vocabulary = {token: i for i, token in enumerate([*special, *WORDS[task]])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, mask_token="<mask>", pad_token="<pad>", unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def draw(task: str, kind: str, seed: int, index: int) -> Sample:
    sample = TASKS[task].sample(seed, index)
    return sample if kind == "nap" else concatenated(sample)


def train_one(options: argparse.Namespace) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from nap.machine import choose_dtype
    from nap.train import DiffusionBatches, train

    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    tokenizer, spec = build_tokenizer(options.task), canvas_of(options.task, options.canvas)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=options.width, intermediate_size=3 * options.width,
        num_hidden_layers=options.layers, num_attention_heads=options.heads, num_key_value_heads=options.heads,
        max_position_embeddings=256, tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None, eos_token_id=tokenizer.pad_token_id, attn_implementation="eager",
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    name = f"{options.task}-{options.canvas}"
    folder = Path(options.runs) / name
    batches = DiffusionBatches(
        partial(draw, options.task, options.canvas, options.seed), spec, tokenizer,
        mask_id=tokenizer.mask_token_id, pad_id=tokenizer.pad_token_id,
        batch_size=options.batch_size, batches=options.steps, seed=options.seed,
    )  # fmt: skip
    print(
        f"{name}: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, {options.steps} steps",
        flush=True,
    )
    # Large products, as those of training are, decide: the width of this model would always choose float32.
    bf16 = choose_dtype("auto", torch.device("cpu"), 512) == torch.bfloat16
    started = time.time()
    train(
        model,
        batches,
        folder,
        learning_rate=options.lr,
        matrix_learning_rate=options.matrix_lr,
        seed=options.seed,
        bf16=bf16,
    )
    save(
        model, tokenizer, spec, folder / "final", {**vars(options), "seconds_of_last_run": round(time.time() - started)}
    )


def save(model: Any, tokenizer: Any, spec: CanvasSpec, folder: Path, setting: dict[str, Any]) -> None:
    """A full Hugging Face folder in 16 bits, with the canvas it was trained on."""
    import torch

    model.to(torch.float16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "canvas.json").write_text(json.dumps(asdict(spec), indent=1) + "\n")
    (folder / "training.json").write_text(json.dumps(setting, indent=1) + "\n")


def train_all(arguments: list[str]) -> int:
    pairs = [(task, canvas) for task in TASKS for canvas in ("nap", "longcot")]
    command = [sys.executable, __file__, *arguments]
    with ThreadPoolExecutor(2) as pool:
        runs = pool.map(lambda pair: subprocess.call([*command, "--task", pair[0], "--canvas", pair[1]]), pairs)
        return max(runs)


def install(runs: Path) -> None:
    """Copy the trained models to where the package looks for them."""
    for final in sorted(runs.glob("*/final")):
        shutil.copytree(final, ROOT / "src/nap/assets" / final.parent.name, dirs_exist_ok=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS)
    parser.add_argument("--canvas", choices=("nap", "longcot"))
    parser.add_argument("--runs", default=str(ROOT / "runs/bundled"), help="checkpoints and results")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--matrix-lr", type=float, default=2e-2)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--install", action="store_true", help="copy the finished models into src/nap/assets and stop")
    options = parser.parse_args()
    if options.install:
        install(Path(options.runs))
    elif options.task and options.canvas:
        train_one(options)
    else:
        return train_all(sys.argv[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
