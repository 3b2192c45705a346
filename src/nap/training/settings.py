"""The settings of a training: model and data, masking and loss weights, and what is reported.

Settings alone, without tensors; loss.py and trainer.py use them.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from nap.common.bounds import BATCH, DECODED, EVERY, RANK, SEED, SLOT_TOKENS, STEPS, check
from nap.common.files import InputError
from nap.common.records import Json, changed
from nap.common.text import check_known

if TYPE_CHECKING:
    from nap.canvas.canvas import CanvasSpec

Weight = Literal["1/t", "cart", "linear", "none"]
Normalise = Literal["token", "sequence", "batch"]
Masking = Literal["plain", "structured"]
Objectives = Literal["mask", "edit"]
Times = Literal["row", "path"]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is masked, and the weight of a masked token in the loss."""

    weight: Weight = "1/t"
    """1/t (the likelihood bound), cart (more weight with unmasked neighbours), linear (1 - t), none (equal weights)"""
    normalise: Normalise = "token"
    """divide by the tokens of the batch, by those of each row and the rows (other with cart alone), or by the rows"""
    masking: Masking = "plain"
    """plain (every token of the slots with probability t) or structured (the summary is unmasked last)"""
    times: Times = "row"
    """one noise level t for a row, or one for each path and the summary"""
    power: float = 1.0
    """t = u ** power with u uniform; below 1 more is masked than in the likelihood bound, whose power is 1"""
    kappa: float = 0.0
    """for structured masking: how much more often the end of a path is masked than its start"""
    objective: Objectives = "mask"
    """mask (masked diffusion), or edit: besides, to replace, delete and insert in its own drafts"""
    corrupt: float = 0.1
    """of the edit objective: how many of a draft's tokens are dropped or doubled, in half of the slots"""

    def __post_init__(self) -> None:
        known: dict[str, object] = {
            "weight": Weight, "normalise": Normalise, "masking": Masking, "times": Times, "objective": Objectives,
        }  # fmt: skip
        for name, choices in known.items():
            check_known(name, getattr(self, name), get_args(choices))
        if not 0 <= self.corrupt <= 1:
            raise InputError(f"corrupt must be from 0 to 1, got {self.corrupt}")
        if self.corrupt != 0.1 and self.objective != "edit":
            raise InputError(f"corrupt {self.corrupt} changes nothing with the objective mask; choose edit, or drop it")
        if not 0 < self.power < float("inf"):
            raise InputError(f"power must be above 0 and finite, got {self.power}")
        if not 0 <= self.kappa < float("inf"):
            raise InputError(f"kappa must be 0 or more and finite, got {self.kappa}")
        if self.kappa and self.masking == "plain":
            raise InputError(f"kappa {self.kappa} changes nothing with plain masking; choose structured, or drop it")


Optimizer = Literal["adamw", "muon"]
TrainingType = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Hyper:
    """How a model is trained. The defaults are the paper's."""

    epochs: float = 3.0
    """how often each sample is seen, unless --steps is given"""
    steps: int = 0
    """number of optimizer steps; 0: as many as the epochs take"""
    batch_size: int = 256
    """samples in a step, over all processes"""
    rows: int = 8
    """samples in one forward and backward pass; gradients of a step are accumulated"""
    learning_rate: float = 2e-6
    """peak learning rate; linear warm-up, then cosine to 0"""
    warmup: float = 0.1
    """share of the steps over which the learning rate rises"""
    weight_decay: float = 0.01
    """AdamW's weight decay (its betas are .9 and .95); with muon that of the hidden matrices, and 0 for all else"""
    clip: float = 1.0
    """largest norm of a gradient"""
    optimizer: Optimizer = "adamw"
    """adamw, or muon for the hidden matrices with AdamW (betas .9 and .98) for the rest"""
    matrix_learning_rate: float = 0.02
    """Muon's peak learning rate"""
    lora: int = 0
    """rank of a LoRA adapter; 0 trains every weight"""
    dtype: TrainingType = "auto"
    """type of matrix products: float32, or bfloat16 by autocast; auto: bfloat16 on a GPU, float32 on a CPU"""
    checkpointing: bool = False
    """compute activations again in the backward pass: less memory, a third more time"""
    fsdp: bool = False
    """shard the weights over torchrun's processes (FSDP2)"""
    shuffle_paths: bool = False
    """put the paths of a sample into a new order each time"""
    seed: int = 0
    """seed of batches, noise and masks"""

    def __post_init__(self) -> None:
        check_known("optimizer", self.optimizer, get_args(Optimizer))
        check_known("dtype", self.dtype, get_args(TrainingType))
        for name, bound in (("steps", STEPS), ("batch_size", BATCH), ("rows", BATCH), ("lora", RANK), ("seed", SEED)):
            check(name, getattr(self, name), bound)
        for name in ("epochs", "learning_rate", "clip", "matrix_learning_rate"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(f"{name} must be above 0 and finite, got {getattr(self, name)}")
        if not 0 <= self.weight_decay < float("inf"):
            raise InputError(f"weight_decay must be 0 or more and finite, got {self.weight_decay}")
        if not 0 <= self.warmup < 1:
            raise InputError(f"warmup must be 0 or more and below 1, got {self.warmup}")
        if self.optimizer != "muon" and self.matrix_learning_rate != Hyper.matrix_learning_rate:
            raise InputError(
                f"matrix_learning_rate {self.matrix_learning_rate} changes nothing with optimizer {self.optimizer}; "
                "choose muon, or drop it"
            )
        if self.fsdp and (self.optimizer == "muon" or self.lora):
            raise InputError("fsdp shards every matrix and trains all weights: choose optimizer adamw and lora 0")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A model and its data. `shift` None: as the checkpoint says, and by one for an autoregressive one. `block_size`
    None: as the checkpoint says; a checkpoint with blocks is refused. `words` are keywords for its chat template.
    """

    model: str
    data: str
    spec: "CanvasSpec"
    revision: str | None = None
    add_tags: bool = True
    shift: bool | None = None
    block_size: int | None = None
    words: tuple[tuple[str, Json], ...] = ()
    objective: Objective = Objective()
    hyper: Hyper = Hyper()

    @property
    def unused(self) -> list[str]:
        """Those of the settings that would change nothing, each with its reason."""
        spec, objective, hyper = self.spec, self.objective, self.hyper
        found = {
            f"epochs {hyper.epochs:g} beside steps": hyper.steps and hyper.epochs != Hyper.epochs,
            "shuffle_paths on a canvas of one path": hyper.shuffle_paths and spec.paths == 1,
            "tags_as_text on a canvas without tags": not self.add_tags and not spec.special_tokens,
            "masking structured on a canvas without a summary": objective.masking == "structured"
            and not spec.summary_tokens,
            "times path on a canvas of one slot": objective.times == "path" and len(spec.slots) == 1,
            f"normalise sequence with weight {objective.weight}, as all rows have the same slots": objective.normalise
            == "sequence" and objective.weight != "cart",
        }  # fmt: skip
        return [reason for reason, holds in found.items() if holds]


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What a run reports and keeps. It changes no result, so a resume may change it."""

    save_every: int = 500
    """steps between checkpoints"""
    log_every: int = 10
    """steps between lines of metrics.jsonl"""
    report_to: str = "none"
    """none, or tensorboard, wandb and others that transformers knows"""
    eval_task: str = ""
    """decode problems of this task during training; empty: none"""
    eval_data: str = ""
    """the task's problems from this file; empty: its own"""
    eval_every: int = 500
    """steps between evaluations"""
    eval_problems: int = 20
    """how many problems each evaluation decodes"""
    eval_policy: str = "parallel_forced"
    """the policy that decodes them"""
    eval_tokens_per_step: int = 0
    """the budget of that policy; 0: 4, or the policy's own pace where it sets one"""

    def __post_init__(self) -> None:
        for name in ("save_every", "log_every", "eval_every"):
            check(name, getattr(self, name), EVERY)
        check("eval_problems", self.eval_problems, DECODED)
        if self.eval_tokens_per_step:
            check("eval_tokens_per_step", self.eval_tokens_per_step, SLOT_TOKENS)
        unused = [name for name in changed(self) if name.startswith("eval_")]
        if unused and not self.eval_task:
            raise InputError(f"{unused[0]} changes nothing without eval_task, the task to decode; give it, or drop it")
