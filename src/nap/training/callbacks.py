"""Reports during a training: a line of JSON every few steps, and the accuracy of decoding so far.

Does not influence the training: decoding has its own random generators. Does not save models (trainer.py).
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from nap.canvas.canvas import CanvasSpec
from nap.common.files import InputError, atomic
from nap.decoding.budget import Budget
from nap.decoding.decode import decode_traces
from nap.decoding.engine import Engine
from nap.decoding.needs import checks_of_guides
from nap.decoding.policies.registry import parse_policy, policy_name
from nap.decoding.prompt import canvas_of
from nap.models.answerable import check_answerable
from nap.models.denoiser import NativeDenoiser
from nap.tasks.public import left_out_of, tell_left_out
from nap.tasks.registry import load_task, path_reader
from nap.training.settings import Watch
from nap.training.start import Start
from nap.training.tested import mean_tpf, verdict

if TYPE_CHECKING:
    from nap.training.trainer import DiffusionTrainer

LOGGED = ("loss", "grad_norm", "learning_rate")
# Of a policy that follows a budget, where none is given.
TOKENS_PER_STEP = 4


class Metrics(TrainerCallback):
    """Appends {step, loss, grad_norm, learning_rate, tokens_per_second} to a file, and reports progress.

    On a resume, lines after the checkpoint are removed, because they will be written again. `run_trainer` sets
    `trainer`. `show` is told of every step: how many are done, of how many.
    """

    trainer: "DiffusionTrainer"

    def __init__(
        self, path: Path, say: Callable[[str], None], show: Callable[[int, int], None] = lambda done, total: None
    ) -> None:
        self.path, self.say, self.show = path, say, show

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Show where the training stands."""
        self.show(state.global_step, state.max_steps)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Cut the file back to the checkpoint."""
        self.trainer.remove_callback(PrinterCallback)
        self.started, self.first = time.perf_counter(), state.global_step
        if state.is_world_process_zero and self.path.exists():
            rewind(self.path, state.global_step)
        self.show(state.global_step, state.max_steps)
        if state.global_step:
            self.say(f"going on from step {state.global_step} of {state.max_steps}")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] = MappingProxyType({}),
        **kwargs: object,
    ) -> None:
        """One line, where there is a loss to write."""
        if "loss" not in logs or not state.is_world_process_zero:
            return
        seconds = time.perf_counter() - self.started
        # Parts have equal sizes, so every process has trained on about as many tokens as this one.
        rate = self.trainer.tokens * args.world_size / seconds
        row = {"step": state.global_step} | {name: logs[name] for name in LOGGED if name in logs}
        append(self.path, row | {"tokens_per_second": round(rate, 1)})
        left = seconds / max(1, state.global_step - self.first) * (state.max_steps - state.global_step)
        self.say(
            f"step {state.global_step}/{state.max_steps}, loss {logs['loss']:.4f}, {rate:,.0f} tokens/s, "
            f"about {left:.0f} s left"
        )


class DecodeEvery(TrainerCallback):
    """Decodes held-out problems every few steps, and appends {step, accuracy, problems, tpf}."""

    trainer: "DiffusionTrainer"

    def __init__(self, watch: Watch, start: Start, spec: CanvasSpec, path: Path, say: Callable[[str], None]) -> None:
        self.task, self.policy = load_task(watch.eval_task), parse_policy(watch.eval_policy)
        self.every, self.start, self.spec, self.path, self.say = watch.eval_every, start, spec, path, say
        self.budget = Budget(tokens=watch.eval_tokens_per_step or (TOKENS_PER_STEP if self.policy.paced else None))
        self.problems = self.task.load("test", watch.eval_problems, watch.eval_data or None)
        if not self.problems:
            raise InputError(f"task {watch.eval_task!r} has no problems to evaluate on")
        tell_left_out(left_out_of(self.problems), say, strict="")
        self.reads = path_reader(self.task, self.problems)
        # Checked here, because what does not fit should stop a training before it starts.
        check_answerable(self._denoiser(), spec, self.task, self.problems)
        self.canvases = [canvas_of(self._denoiser(), problem, spec) for problem in self.problems]
        if checks_of_guides(self.policy):
            raise InputError(
                f"policy {policy_name(self.policy)!r} has a second model, which was made for one model alone, and a "
                "model in training becomes another; give an --eval-policy without one"
            )
        engine = Engine(self._denoiser())
        for canvas in self.canvases:
            engine.add(canvas, self.policy, budget=self.budget, reads=self.reads)

    def _denoiser(self) -> NativeDenoiser:
        start = self.start
        # LoRA layers are inside the model; peft's wrapper has no layers of its own.
        return NativeDenoiser(
            model=start.model, tokenizer=start.tokenizer, **start.ids._asdict(), shift=start.shift, block_size=None,
            setting={"model": str(start.folder), "revision": start.revision, "chat_template_kwargs": start.words},
            max_length=start.max_length,
            canvas=self.spec,
        )  # fmt: skip

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Decode, where it is time to."""
        due = state.global_step % self.every == 0 or state.global_step == state.max_steps
        if not due or not state.is_world_process_zero:
            return
        self.start.model.eval()
        try:
            row = {"step": state.global_step, **self._decoded(self._denoiser())}
        finally:
            self.start.model.train()
        append(self.path, row)
        right = round(row["accuracy"] * len(self.problems))
        self.say(f"step {state.global_step}: {right} of {len(self.problems)} problems right")

    def _decoded(self, denoiser: NativeDenoiser) -> dict[str, float]:
        """What the model is worth now, as nap eval measures it."""
        traces = decode_traces(denoiser, self.canvases, self.policy, budget=self.budget, reads=self.reads)
        rows = zip(self.problems, self.canvases, traces, strict=True)
        right = sum(verdict(denoiser, self.task, *row) for row in rows)
        count = len(self.problems)
        return {"accuracy": right / count, "problems": count, "tpf": mean_tpf(traces)}


def append(path: Path, row: Mapping[str, object]) -> None:
    """Add a line to a file of JSON objects."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def rewind(path: Path, step: int) -> None:
    """Remove lines after a step, an incomplete last line, and lines that cannot be read."""
    lines = path.read_bytes().split(b"\n")[:-1]
    with atomic(path, "wb") as file:
        file.writelines(line + b"\n" for line in lines if 0 <= _step_of(line) <= step)


def _step_of(line: bytes) -> int:
    """The step of a line of metrics; -1 for an invalid line."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return -1
    found = row.get("step") if isinstance(row, dict) else None
    return found if isinstance(found, int) else -1
