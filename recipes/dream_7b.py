"""Fine-tune Dream-7B-Instruct on NAP's data as the paper did (2602.23225; docs/training.md lists what it says).

    python recipes/dream_7b.py --data samples.parquet --print         # the command of every process, for torchrun
    python recipes/dream_7b.py --dry-run --out runs/dry-dream         # two steps of a tiny checkpoint of that shape

The hyperparameters are those of recipes/llada_8b.py; Dream's logits are shifted by one, which its family says. No GPU
run of this has been made: only the dry run has been run, on a CPU. Expected wall time: half a minute for the dry run;
unknown for the real one.
"""

import json
import sys
from pathlib import Path

from llada_8b import run, tiny_tokenizer


def tiny(folder: Path) -> Path:
    """A random checkpoint with the config keys, tensor names and mask of Dream-7B-Instruct, of two narrow layers."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = tiny_tokenizer("<|mask|>")
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=False, initializer_range=0.1,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    path = folder / "config.json"
    # As published: a name of its own, and a mask that the config declares.
    said = json.loads(path.read_text()) | {"model_type": "Dream", "mask_token_id": tokenizer.mask_token_id}
    path.write_text(json.dumps(said))
    return folder


if __name__ == "__main__":
    sys.exit(run("Dream-org/Dream-v0-Instruct-7B", tiny, __doc__))
