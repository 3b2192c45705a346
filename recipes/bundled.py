"""Train the bundled models: the same trajectories as one long chain and as three parallel paths.

    python recipes/bundled.py                       # all four, two at a time
    python recipes/bundled.py --model arith-nap     # one of them
    python recipes/bundled.py --install             # copies them to where the package looks for them

Expected wall time: see docs/models.md. Resumable: run the same command again after a kill.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from nap.canvas.canvas import CanvasSpec
from nap.common.files import InputError, atomic
from nap.common.folder import differing, digest, digest_files, run_folder
from nap.common.memory import keep_memory
from nap.data.samples import Sample, concatenated
from nap.tasks.agree import Agree
from nap.tasks.arith import ITEMS, NAMES, Arith
from nap.tasks.countdown import Countdown
from nap.tasks.grids import Grids
from nap.tasks.igsm import Igsm
from nap.training.settings import Masking, Weight

ROOT = Path(__file__).resolve().parent.parent
TASKS = {"arith": Arith(), "countdown": Countdown()}
ARITH_WORDS = "has more fewer than and together How many ? . ; + - ="
COUNTDOWN_WORDS = "numbers target ; + - * / = ( )"
WORDS = {
    "arith": [*NAMES, *ITEMS, *map(str, range(21)), *ARITH_WORDS.split()],
    "countdown": [*"0123456789", *[f"##{d}" for d in range(10)], *COUNTDOWN_WORDS.split()],
    "grids": Grids().words,
    "agree": Agree().words,
    "igsm": Igsm().words,
    "sudoku": ["sudoku", "/", *"0123456"],
}
MODELS = [f"{task}-{canvas}" for task in TASKS for canvas in ("nap", "longcot")]
# Long enough for the longest solution, so that nothing is drawn in vain. The two canvases of a task are equally long.
SLOTS = {"arith": (30, 3), "countdown": (22, 12)}
STEPS = {"arith": 5000, "countdown": 3500}
# Of a training's products. Never by the clock: the other type trains another model.
DTYPES = ("bfloat16", "float32")
# Of a model that is trained until it is right: the steps of longer and longer schedules, each from scratch.
SCHEDULES = (900, 3600, 7200)
# Peaks of the rates of all but the first: a third of the usual ones.
SLOW, SLOW_MATRIX = 1e-3, 7e-3


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How every small model is trained. Why these weights and noise levels: docs/models.md.

    shift   a token is predicted from the state before it, as in Dream
    causal  train an autoregressive model instead: nothing is masked, and a token sees the tokens before it
    """

    steps: int
    batch_size: int = 64
    lr: float = 3e-3
    matrix_lr: float = 2e-2
    width: int = 128
    layers: int = 6
    heads: int = 2
    weight: Weight = "none"
    power: float = 0.5
    masking: Masking = "plain"
    shift: bool = False
    causal: bool = False


def schedules(batch_size: int) -> Iterator[Recipe]:
    """The trainings of SCHEDULES, of a model of four layers: the first at the usual rates, the others at SLOW."""
    first = Recipe(steps=SCHEDULES[0], batch_size=batch_size, layers=4)
    yield first
    for steps in SCHEDULES[1:]:
        yield replace(first, steps=steps, lr=SLOW, matrix_lr=SLOW_MATRIX)


def slots(task: str, paths: int = 3, **options: Any) -> CanvasSpec:
    """A slot for each path."""
    path_tokens, summary_tokens = SLOTS[task]
    return CanvasSpec(paths=paths, path_tokens=path_tokens, summary_tokens=summary_tokens, **options)


def one_slot(task: str, solutions: int = 3) -> CanvasSpec:
    """One slot with room for this many solutions and their separators."""
    path_tokens, summary_tokens = SLOTS[task]
    return CanvasSpec(paths=1, path_tokens=solutions * path_tokens + solutions - 1, summary_tokens=summary_tokens)


def canvas_of(task: str, kind: str) -> CanvasSpec:
    return slots(task) if kind == "nap" else one_slot(task)


def build_tokenizer(task: str, paths: int = 3, more_words: Sequence[str] = ()) -> Any:
    """A whole-word tokenizer; numbers of countdown are written digit by digit."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<mask>", "<unk>", *CanvasSpec(paths=paths).special_tokens]
    vocabulary = {token: i for i, token in enumerate([*special, *WORDS[task], *more_words])}
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


def build_model(tokenizer: Any, recipe: Recipe, seed: int, positions: int = 256) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=recipe.width, intermediate_size=3 * recipe.width,
        num_hidden_layers=recipe.layers, num_attention_heads=recipe.heads, num_key_value_heads=recipe.heads,
        max_position_embeddings=positions, tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None, eos_token_id=tokenizer.pad_token_id, attn_implementation="eager",
        shift_logits=recipe.shift,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def fit(
    tokenizer: Any,
    spec: CanvasSpec,
    draw: Callable[[int], Sample],
    folder: Path,
    recipe: Recipe,
    *,
    seed: int,
    shuffle: bool = False,
    start: Path | None = None,
    device: str = "cpu",
    dtype: str = DTYPES[0],
    may_hold: Sequence[str] = (),
) -> Path:
    """Train from scratch, or from the weights in `start`, or go on where a killed run stopped. Returns the folder of
    the finished model.

    dtype     type of the matrix products; on a processor without bfloat16 products float32 is much faster, and gives
              another model
    may_hold  names of what the folder may hold before its training begins

    Raises InputError for a folder that holds something else, or a model of another training, data or start, or where
    another process is at work.
    """
    import torch

    from nap.common.machine import usable_device

    final = folder / "final"
    setting = {"name": folder.name, "seed": seed, "device": device, "dtype": f"torch.{dtype}", **asdict(recipe)}
    setting["data"] = digest(repr([draw(index) for index in range(4)]).encode())
    if start:
        setting["start"] = digest_files([start / "model.safetensors"])
    if (final / "training.json").exists():
        check_trained(final, setting)
        return final
    torch.set_num_threads(1)
    keep_memory()
    usable_device(device)
    # Earlier versions claimed nothing: what they left of a training is gone on with.
    left = [path.name for path in folder.glob("checkpoint-*")]
    with run_folder(folder, "recipe", setting, may_hold=[*left, *may_hold]):
        _train(tokenizer, spec, draw, folder, recipe, setting, shuffle=shuffle, start=start)
    return final


def check_trained(final: Path, setting: Mapping[str, Any]) -> None:
    """Raise InputError for a model that was trained otherwise than asked. Where it was trained does not matter."""
    made = json.loads((final / "training.json").read_text())
    # Earlier versions wrote down less.
    shared = setting.keys() & made.keys() - {"device"}
    if listed := differing(*({name: each[name] for name in each if name in shared} for each in (made, setting))):
        raise InputError(
            f"{final.parent} holds a model of another training ({listed}); choose another folder, or remove this one"
        )


def _train(
    tokenizer: Any, spec: CanvasSpec, draw: Callable[[int], Sample], folder: Path, recipe: Recipe,
    setting: dict[str, Any], *, shuffle: bool, start: Path | None,
) -> None:  # fmt: skip
    import torch

    from nap.training.batches import DiffusionBatches
    from nap.training.settings import Objective
    from nap.training.trainer import train

    seed, device = setting["seed"], setting["device"]
    slots = spec.paths * spec.path_tokens + spec.summary_tokens
    positions = 256 if slots <= 160 else 512 if slots <= 400 else 1024
    model = build_model(tokenizer, recipe, seed, positions)
    if start:
        model.load_state_dict(type(model).from_pretrained(start, dtype=torch.float32).state_dict())
    batches = (causal_batches() if recipe.causal else DiffusionBatches)(
        draw, spec, tokenizer, mask_id=tokenizer.mask_token_id, pad_id=tokenizer.pad_token_id,
        batch_size=recipe.batch_size, batches=recipe.steps, seed=seed, shuffle=shuffle,
        objective=Objective(weight=recipe.weight, power=recipe.power, masking=recipe.masking),
    )  # fmt: skip
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"{folder.name}: {parameters:.2f} M parameters, {recipe.steps} steps", flush=True)
    # A GPU has done with a model of this size before it is compiled for every length of a batch.
    train(
        model, batches, folder, learning_rate=recipe.lr, matrix_learning_rate=recipe.matrix_lr, seed=seed,
        bf16=setting["dtype"] == "torch.bfloat16", compile=device == "cpu", device=device,
    )  # fmt: skip
    save(model, tokenizer, spec, folder / "final", setting)


def causal_batches() -> Any:
    """A class of batches like `DiffusionBatches` of which an autoregressive model learns."""
    import torch

    from nap.training.batches import DiffusionBatches

    class CausalBatches(DiffusionBatches):
        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            step = self.step(index)
            rows_N, positions_N = (step.region_BL >= 0).nonzero(as_tuple=True)
            length = step.ids_BL.shape[1]
            hidden_LL = torch.ones(length, length, dtype=torch.bool).triu(1)
            return super().__getitem__(index) | {
                "input_ids": step.ids_BL,
                # What stands outside comes last in its row, so nothing that counts sees it.
                "attention_mask": torch.zeros(1, 1, length, length).masked_fill(hidden_LL, torch.finfo().min),
                "rows": rows_N,
                "positions": positions_N,
                "targets": step.ids_BL[rows_N, positions_N],
                "weights": torch.full(rows_N.shape, 1 / len(rows_N)),
            }

    return CausalBatches


def save(model: Any, tokenizer: Any, spec: CanvasSpec, folder: Path, setting: dict[str, Any]) -> None:
    """A full Hugging Face folder in 16 bits, with the canvas it was trained on."""
    import torch

    model.to(torch.float16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # The last of them says that all are there.
    for name, value in (("canvas.json", asdict(spec)), ("training.json", setting)):
        with atomic(folder / name) as file:
            file.write(json.dumps(value, indent=1) + "\n")


def run_each(command: Sequence[str], names: Sequence[str], at_once: int = 2) -> int:
    """Run the command once for each name, in processes of their own, some at a time. Returns how many failed."""
    with ThreadPoolExecutor(at_once) as pool:
        codes = pool.map(lambda name: subprocess.call([sys.executable, *command, name]), names)
        return sum(code != 0 for code in codes)


def bundle(name: str, trained: Path, said: str) -> None:
    """Copy a model to where the package looks for it, with what it says it is, and write down its digests."""
    from nap.models.bundled import write_sums

    target = ROOT / "src/nap/assets" / name
    shutil.copytree(trained, target, dirs_exist_ok=True, copy_function=shutil.copyfile)
    setting = json.loads((trained / "training.json").read_text())
    (target / "training.json").write_text(json.dumps(setting | {"name": said}, indent=1) + "\n")
    write_sums()


def newest(folder: Path) -> Path | None:
    """The model of the training that ended last, of several in a folder; None without any."""
    ended = sorted(folder.glob("*/final/training.json"), key=lambda path: path.stat().st_mtime)
    return ended[-1].parent if ended else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, help="train this one alone, here")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/bundled", help="checkpoints and results")
    parser.add_argument("--steps", type=int, help="optimizer steps, instead of the task's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", choices=DTYPES, default=DTYPES[0], help="of the products")
    parser.add_argument("--install", action="store_true", help="copy the finished models into src/nap/assets and stop")
    options = parser.parse_args()
    if options.install:
        for name in MODELS:
            bundle(name, options.runs / name / "final", name)
        return 0
    if not options.model:
        return run_each([__file__, *sys.argv[1:], "--model"], MODELS)
    task, kind = options.model.split("-")
    fit(
        build_tokenizer(task), canvas_of(task, kind), partial(draw, task, kind, options.seed),
        options.runs / options.model, Recipe(steps=options.steps or STEPS[task]), seed=options.seed,
        dtype=options.dtype,
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
