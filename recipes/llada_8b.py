"""Fine-tune LLaDA-8B-Instruct on NAP's data as the paper did (2602.23225; docs/training.md lists what it says).

    python recipes/llada_8b.py --data samples.parquet --print         # the command of every process, for torchrun
    python recipes/llada_8b.py --dry-run --out runs/dry-llada         # two steps of a tiny checkpoint of that shape

No GPU run of this has been made: the hyperparameters are the paper's, and only the dry run has been run, on a CPU.
Expected wall time: half a minute for the dry run; unknown for the real one, which needs about 16 bytes a weight (8 B:
128 GB) over all GPUs for weights, gradients and AdamW's two averages, and activations on top.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nap.commands.flags import CanvasFlags
from nap.commands.train import Train
from nap.training.settings import Hyper, Watch

# As 2602.23225 has it: 3 epochs, AdamW 2e-6 (.9, .95), weight decay .01, batch 256, warm-up 10 %, clip 1.
PAPER = Hyper(
    epochs=3, batch_size=256, rows=2, learning_rate=2e-6, warmup=0.1, weight_decay=0.01, clip=1.0, checkpointing=True,
    fsdp=True,
)  # fmt: skip
CANVAS = CanvasFlags(canvas="nap", paths=3, path_tokens=330, summary_tokens=32)
# The dry run: the same code, and numbers that a laptop computes in seconds.
DRY = Hyper(steps=2, batch_size=4, rows=2, learning_rate=1e-3, checkpointing=True)
DRY_CANVAS = CanvasFlags(canvas="nap", paths=3, path_tokens=40, summary_tokens=24)


def tiny_tokenizer(mask: str) -> Any:
    """Bytes, and the family's own mask and end of text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>", mask_token=mask,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def tiny(folder: Path) -> Path:
    """A random checkpoint with the config keys, tensor names and mask of LLaDA-8B-Instruct, of two narrow layers."""
    import torch
    from safetensors.torch import save_file

    tokenizer, generator = tiny_tokenizer("<|mdm_mask|>"), torch.Generator().manual_seed(0)
    size, width, wide = len(tokenizer), 32, 64
    shapes = {"wte": (size, width), "ln_f": (width,), "ff_out": (size, width)}
    for layer in range(2):
        block = f"blocks.{layer}."
        shapes |= {f"{block}{name}": (width, width) for name in ("q_proj", "k_proj", "v_proj", "attn_out")}
        shapes |= {f"{block}{name}": (wide, width) for name in ("ff_proj", "up_proj")}
        shapes |= {f"{block}ff_out": (width, wide), f"{block}attn_norm": (width,), f"{block}ff_norm": (width,)}
    tensors = {
        f"model.transformer.{name}.weight": torch.ones(shape)
        if len(shape) == 1
        else torch.randn(shape, generator=generator) * 0.1
        for name, shape in shapes.items()
    }
    config = {
        "model_type": "llada", "d_model": width, "n_heads": 4, "n_kv_heads": 4, "n_layers": 2, "mlp_hidden_size": wide,
        "vocab_size": size, "embedding_size": size, "max_sequence_length": 512, "rope_theta": 500000.0,
        "weight_tying": False, "block_type": "llama", "mask_token_id": tokenizer.mask_token_id,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer.save_pretrained(folder)
    return folder


def dry_samples(path: Path) -> Path:
    """Sixteen short samples of countdown."""
    from nap.data.samples import write_samples
    from nap.tasks.countdown import Countdown

    write_samples((Countdown().sample(0, index) for index in range(16)), path)
    return path


def run(name: str, make_tiny: Callable[[Path], Path], docstring: str | None) -> int:
    """What both recipes of the paper do: the real training, its command, or the dry run."""
    parser = argparse.ArgumentParser(description=docstring, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=name, help="folder or hub name")
    parser.add_argument("--data", help="samples, as nap curate writes them")
    parser.add_argument("--out", type=Path, default=Path("runs") / name.rpartition("/")[2])
    parser.add_argument("--dry-run", action="store_true", help="two steps of a tiny checkpoint of this shape")
    parser.add_argument("--print", action="store_true", help="print the command and stop")
    options = parser.parse_args()
    if not options.dry_run and not options.data:
        parser.error("give --data, or --dry-run")
    if options.print:
        print(command(options.model, options.data, options.out))
        return 0
    if options.dry_run:
        model, data = make_tiny(options.out / "tiny"), dry_samples(options.out / "samples.parquet")
        Train(
            model=str(model), data=str(data), out=str(options.out / "run"), canvas=DRY_CANVAS, hyper=DRY,
            watch=Watch(log_every=1),
        ).run()  # fmt: skip
        return 0
    Train(model=options.model, data=options.data, out=str(options.out), canvas=CANVAS, hyper=PAPER).run()
    return 0


def command(model: str, data: str | None, out: Path) -> str:
    """The same training as one command line."""
    flags = {
        "model": model, "data": data or "samples.parquet", "out": out, "canvas": "nap", "paths": CANVAS.paths,
        "path-tokens": CANVAS.path_tokens, "summary-tokens": CANVAS.summary_tokens, "epochs": PAPER.epochs,
        "batch-size": PAPER.batch_size, "rows": PAPER.rows, "learning-rate": PAPER.learning_rate,
        "warmup": PAPER.warmup, "weight-decay": PAPER.weight_decay, "clip": PAPER.clip,
    }  # fmt: skip
    words = [word for key, value in flags.items() for word in (f"--{key}", str(value))]
    start = ["torchrun", "--nproc-per-node", "8", "-m", "nap", "train"]
    return shlex.join([*start, *words, "--checkpointing", "--fsdp"])


if __name__ == "__main__":
    sys.exit(run("GSAI-ML/LLaDA-8B-Instruct", tiny, __doc__))
