"""Small scorers for the tests of SeqDep: a tiny random model with a tokenizer of characters, and its brute force."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from nap.dependence.segments import Text

# Six lines of different lengths, one of them after a blank one.
POEM = "the cat sat\non the mat.\n\nIt was fat,\nand that\nwas that: a long line follows here\nend"
CHARACTERS = ["<unk>", "\n", *map(chr, range(32, 127))]
SIZE = {
    "vocab_size": len(CHARACTERS), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.3,
}  # fmt: skip

torch.set_num_threads(1)
logging.disable_progress_bar()


def character_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({c: i for i, c in enumerate(CHARACTERS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(?m)."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def save_causal(folder: Path, kind: type = LlamaForCausalLM, config: type = LlamaConfig, **changes: Any) -> Path:
    """A folder with a tiny random causal language model of that class."""
    torch.manual_seed(0)
    kind(config(**SIZE | {"bos_token_id": None, "eos_token_id": None} | changes)).save_pretrained(folder)
    character_tokenizer().save_pretrained(folder)
    return folder


@torch.no_grad()
def log_p(model: Any, before: tuple[int, ...], ids: tuple[int, ...]) -> float:
    """log p of `ids` after `before`, by a forward of its own."""
    logits_LV = model(torch.tensor([[*before, *ids]]), use_cache=False).logits[0].double()
    scores_LV = logits_LV.log_softmax(-1)
    return sum(scores_LV[len(before) + i - 1, token].item() for i, token in enumerate(ids))


def brute_force(folder: Path, text: Text) -> tuple[np.ndarray, np.ndarray]:
    """(log p(s_n | x, s_<n), log p(s_n | x)) for n = 2..N: two forwards a segment, as Eq. 4 says it."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    found = []
    for n, ids in enumerate(text.segments[1:], 1):
        history = tuple(token for segment in text.segments[:n] for token in segment)
        found.append((log_p(model, text.prompt + history, ids), log_p(model, text.prompt, ids)))
    with_history, alone = np.array(found).T
    return with_history, alone
