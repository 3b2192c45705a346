"""Turn AntiBERTy into a checkpoint that NAP loads, and measure how well it restores a masked antibody.

    python recipes/antiberty.py ../models/antiberty ../models/antiberty-nap
    python recipes/antiberty.py ../models/antiberty ../models/antiberty-nap --caches dual drift    # what these cost
    python recipes/antiberty.py ../models/antiberty ../models/antiberty-nap --texts masked.jsonl

The first folder is what `get_models.sh antiberty` unpacks (PyPI package antiberty 0.1.3, MIT, 26 M parameters); the
second is written. The masked texts are a contest of `nap leaderboard`: restore@masked.jsonl=../models/antiberty-nap.
Expected wall time: half a minute on one core. Expected of trastuzumab's heavy chain, 20 random masks
each: 81.4, 80.7 and 79.8 % of 15, 40 and 70 % masked residues come back in one step, 80.6, 82.4 and 77.7 % in eight.

AntiBERTy is BERT over single residues (2112.07782), trained with masking only: a real pretrained masked denoiser.
Its weights are a pickle, read with `weights_only=True`, and its training_args.bin, which runs code, is never opened.
Leaves its species, chain and graft heads out.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nap.canvas.canvas import Canvas, CanvasSpec
from nap.canvas.visibility import Layout
from nap.common.files import write_jsonl
from nap.common.stats import bootstrap_mean
from nap.data.trace import PROMPT, Trace
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.policies.ordered import LowConfidence
from nap.models.denoiser import Denoiser
from nap.models.load import load

# The package writes these five before the residues, and BERT's usual layout around them.
SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
STEPS = 8
# Positions of a block where caches are compared, and the share that is masked there and in texts.
BLOCK, MASKED = 16, 0.4
TRASTUZUMAB_VH = (
    "EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQAPGKGLEWVARIYPTNGYTRYADSVKGRFTISADTSKNTAYLQMNSLRAEDTAVYYC"
    "SRWGGDGFYAMDYWGQGTLVTVSS"
)


def convert(source: Path, target: Path) -> None:
    """Write the weights of an unpacked antiberty package as safetensors, with a config and a tokenizer, to `target`."""
    from transformers import BertConfig, BertForMaskedLM

    models = source / "antiberty" / "trained_models"
    folder = models / "AntiBERTy_md_smooth"
    model = BertForMaskedLM(BertConfig.from_pretrained(folder))
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True, map_location="cpu")
    left_out = ("bert.pooler.", "bert.embeddings.position_ids", "cls.species.", "cls.chain.", "cls.graft.")
    model.load_state_dict({name: value for name, value in weights.items() if not name.startswith(left_out)})
    model.save_pretrained(target)
    _write_tokenizer((models / "vocab.txt").read_text().split(), target)


def _write_tokenizer(tokens: list[str], target: Path) -> None:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    around = [(token, tokens.index(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=around)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL).save_pretrained(target)


def masked_rows(
    denoiser: Denoiser, fraction: float, *, sequence: str = TRASTUZUMAB_VH, count: int = 20, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """(true ids_L, masked ids_BL): `count` times the sequence, a random `fraction` of its residues masked in each."""
    truth = np.array(denoiser.tokenizer.encode(sequence))
    generator = np.random.default_rng(seed)
    rows = np.repeat(truth[None], count, axis=0)
    for row in rows:
        # The first and the last token are [CLS] and [SEP].
        row[1 + generator.choice(len(truth) - 2, round(fraction * (len(truth) - 2)), replace=False)] = denoiser.mask_id
    return torch.from_numpy(truth), torch.from_numpy(rows)


def in_one_step(denoiser: Denoiser, ids_BL: Tensor) -> Tensor:
    """ids_BL with every mask replaced by its likeliest token, from one forward."""
    rows, positions = torch.nonzero(ids_BL == denoiser.mask_id, as_tuple=True)
    filled = ids_BL.clone()
    filled[rows, positions] = denoiser.logits(
        ids_BL, Layout(np.zeros(ids_BL.shape, np.int64)), (rows, positions)
    ).argmax(-1)
    return filled


def decoded(
    denoiser: Denoiser, ids_BL: Tensor, budget: Budget, block: int | None = None, cache: str = "none"
) -> list[Trace]:
    """The rows with their masks filled, the most probable first, by NAP's own loop."""
    spec = CanvasSpec.plain(1)
    canvases = [
        Canvas(ids=ids, region=np.where(ids == denoiser.mask_id, 0, PROMPT), spec=spec) for ids in ids_BL.numpy()
    ]
    return decode_traces(denoiser, canvases, LowConfidence(block=block), budget=budget, cache=cache)


def in_steps(steps: int, denoiser: Denoiser, ids_BL: Tensor) -> Tensor:
    """ids_BL with its masks filled in `steps` steps."""
    return torch.tensor([trace.final for trace in decoded(denoiser, ids_BL, Budget(steps=steps))])


def print_costs(denoiser: Denoiser, caches: Sequence[str], fraction: float, count: int = 20) -> None:
    """Of each cache its query tokens a row, what it restores, and what it writes otherwise than no cache does.

    A residue a step in blocks of BLOCK; 95 % bootstrap intervals over the rows.
    """
    truth_L, ids_BL = masked_rows(denoiser, fraction, count=count)
    masked_BL, without = ids_BL == denoiser.mask_id, None
    for cache in ("none", *caches):
        traces = decoded(denoiser, ids_BL, Budget(tokens=1), BLOCK, cache)
        filled = torch.tensor([trace.final for trace in traces])
        without = filled if without is None else without
        queries = sum(cost.queries for trace in traces for cost in trace.costs) / count
        shares = [_percent(same[masked_BL].view(count, -1)) for same in (filled == truth_L, filled != without)]
        print(f"{cache:16} {queries:6.0f} query tokens, {shares[0]} restored, {shares[1]} changed", flush=True)


def write_texts(denoiser: Denoiser, path: Path, fraction: float, count: int = 64) -> None:
    """Write `masked_rows` as problems of the task `restore`: each text with its masks, and the whole text."""
    truth_L, ids_BL = masked_rows(denoiser, fraction, count=count)
    answer, *texts = ("".join(denoiser.tokenizer.convert_ids_to_tokens(ids)) for ids in (truth_L, *ids_BL))
    write_jsonl(path, ({"text": text, "answer": answer} for text in texts))


def _percent(holds_BN: Tensor) -> str:
    each_B = (100 * holds_BN.double().mean(1)).tolist()
    low, high = bootstrap_mean(each_B)
    return f"{sum(each_B) / len(each_B):.2f} % [{low:.2f}, {high:.2f}]"


def recovery(
    denoiser: Denoiser, fraction: float, *, fill: Callable[[Denoiser, Tensor], Tensor] = in_one_step, **rows: Any
) -> float:
    """The share of masked residues that `fill` restores, over `masked_rows`. Give another `fill` for more steps."""
    truth_L, ids_BL = masked_rows(denoiser, fraction, **rows)
    masked_BL = ids_BL == denoiser.mask_id
    return (fill(denoiser, ids_BL) == truth_L)[masked_BL].double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the unpacked antiberty package")
    parser.add_argument("target", type=Path, help="the checkpoint folder to write")
    parser.add_argument("--caches", nargs="+", default=(), help="compare these with none, instead")
    parser.add_argument("--texts", type=Path, help="write masked texts to this .jsonl instead")
    arguments = parser.parse_args()
    convert(arguments.source, arguments.target)
    denoiser = load(str(arguments.target), dtype="float32")
    if arguments.texts:
        return write_texts(denoiser, arguments.texts, MASKED)
    if arguments.caches:
        return print_costs(denoiser, arguments.caches, MASKED)
    for fraction in (0.15, 0.4, 0.7):
        many = recovery(denoiser, fraction, fill=partial(in_steps, STEPS))
        print(f"{fraction:.0%} masked: {recovery(denoiser, fraction):.1%} in one step, {many:.1%} in {STEPS}")


if __name__ == "__main__":
    main()
