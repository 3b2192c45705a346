"""`nap train` as a function: trains a checkpoint on samples of a file, in a folder that can be resumed after a kill.

    run/setting.json      what the run is made of; a resume with another setting is refused, naming what differs
    run/dropped.jsonl     samples that do not fit the canvas, each with its reason
    run/metrics.jsonl     one object a line: step and loss, or step and accuracy
    run/checkpoint-N      the last two, to go on from
    run/final             the model: weights or adapter, tokenizer, canvas.json, training.json, README.md

Does not mask, batch or step (batches.py, trainer.py), and starts no processes: torchrun does.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nap import __version__
from nap.common.bounds import STEPS, check
from nap.common.files import InputError
from nap.common.folder import SETTING, Compared, Setting, read_setting, run_folder
from nap.common.text import check_known, check_text
from nap.training.processes import check_environment, own_environment, which_process
from nap.training.settings import Hyper, Job, Watch

if TYPE_CHECKING:
    from torch import nn
    from transformers import TrainerCallback

    from nap.training.batches import DiffusionBatches
    from nap.training.corpus import Corpus
    from nap.training.start import Start
    from nap.training.trainer import DiffusionTrainer

# What the fields were that earlier versions did not write into a run's setting.
LATER: dict[str, object] = {"objective.objective": "mask", "objective.corrupt": 0.1}


def fine_tune(
    job: Job,
    folder: str | Path,
    watch: Watch,
    say: Callable[[str], None],
    show: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Train, or continue after a kill. Returns the folder of the finished model.

    say   is told messages for the user, a line at a time
    show  is told of every step: how many are done, of how many

    Raises InputError for samples, a checkpoint or a setting that do not fit, and if another process is at work here.
    """
    import torch

    from nap.common.machine import SMALL_WIDTH, choose_dtype, dtype_hint
    from nap.training.final import decode_command, is_finished, write_final
    from nap.training.start import open_start

    _check_sharding(job.hyper, watch)
    _check_editing(job)
    _check_report(watch.report_to)
    # A text that cannot be written into the README should stop a training before it starts.
    for what, name in (("model", job.model), ("data", job.data), ("folder", str(folder))):
        check_text(f"the name of the {what}", name)
    folder, first = Path(folder), which_process().rank == 0
    final, is_begun = folder / "final", (folder / SETTING).is_file() and not _is_unused(folder)
    if job.unused and not is_begun:
        raise InputError(f"{job.unused[0]} changes nothing; drop it")
    on = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    fast = choose_dtype(job.hyper.dtype, on, "bfloat16")
    dtype = str(fast).removeprefix("torch.")
    check_environment(dtype, gpu=on.type == "cuda")
    tags = job.spec.special_tokens if job.add_tags else []
    # Trained weights are kept in 32 bits; frozen weights under an adapter need not be.
    kept = fast if job.hyper.lora and on.type != "cpu" else torch.float32
    start = open_start(
        job.model, job.revision, tags, shift=job.shift, block_size=job.block_size, dtype=kept, words=job.words
    )
    corpus = _corpus(job, start)
    # A run that an earlier version began goes on as that dealt its samples.
    by_epochs = not is_begun or "dealt" in read_setting(folder)
    setting = _setting(job, corpus, start, dtype) | ({"dealt": "by epochs"} if by_epochs else {})
    with ExitStack() as held:
        held.enter_context(own_environment())
        if first:
            compared, is_unused = _compared(job, folder, say), partial(_is_unused, folder)
            kept_out = run_folder(folder, "train", setting, is_unused=is_unused, compared=compared, later=LATER)
            held.enter_context(kept_out)
            _report_corpus(corpus, job.data, folder, say)
            # The products of a training are large even for a narrow model.
            if job.hyper.dtype == "auto" and (hint := dtype_hint(on, dtype, SMALL_WIDTH, "trains other weights")):
                say(hint)
            _report_gpus(job, torch.cuda.device_count(), say)
        if is_finished(final):
            say(f"{final} is finished already")
            return final
        batches = _batches(job, corpus, start, by_epochs=by_epochs)
        if first:
            _report_epochs(batches, corpus, say)
        model = _trainable(start, job)
        found = _run(model, start, batches, job, watch, folder, bf16=fast == torch.bfloat16, say=say, show=show)
        write_final(found, start, job, setting, corpus, folder)
        # A process that leaves while another still writes closes their connection, and the other aborts.
        found.accelerator.wait_for_everyone()
        found.accelerator.end_training()
    say(f"the model is in {final}; next: {decode_command(final, corpus)}")
    return final


def _is_unused(folder: Path) -> bool:
    """Whether a training that was refused, perhaps for a flag, left nothing but its setting."""
    return not any((folder / name).exists() for name in ("metrics.jsonl", "final")) and not [
        *folder.glob("checkpoint*")
    ]


def _compared(job: Job, folder: Path, say: Callable[[str], None]) -> Compared:
    """Compares two settings, where an earlier version wrote `auto` and not the number type that it came to."""
    from nap.models.identity import unless_unsaid

    usual = unless_unsaid(folder, say)

    def compared(old: Setting, now: Setting) -> tuple[dict[str, object], dict[str, object]]:
        before, after = usual(old, now)
        hyper, asked = before.get("hyper"), after.get("hyper")
        if isinstance(hyper, dict) and isinstance(asked, dict) and hyper.get("dtype") == "auto":
            after["hyper"] = asked | {"dtype": job.hyper.dtype}
        return before, after

    return compared


def _check_sharding(hyper: Hyper, watch: Watch) -> None:
    if hyper.fsdp and which_process().of == 1:
        raise InputError(
            "fsdp spreads the weights over processes, and here is one; "
            "start it with torchrun --nproc-per-node 8 -m nap train, or leave --fsdp out"
        )
    if hyper.fsdp and watch.eval_task:
        raise InputError("under fsdp no process has the whole model to decode with; leave --eval-task out")


def _check_editing(job: Job) -> None:
    if job.objective.objective == "edit" and (job.hyper.lora or job.hyper.fsdp or which_process().of > 1):
        raise InputError(
            "the edit objective trains all weights in one process: choose lora 0, leave --fsdp out, and start it "
            "without torchrun"
        )


def _check_report(name: str) -> None:
    """Before a training, refuse a --report-to that transformers does not know, or whose package is missing."""
    from transformers.integrations import integration_utils

    if name in ("none", "all"):
        return
    there, known = integration_utils.get_available_reporting_integrations(), integration_utils.INTEGRATION_TO_CALLBACK
    check_known("--report-to", name, ["none", *sorted(known)])
    if name not in there:
        here = f"installed: {', '.join(there)}" if there else "nothing of the kind is installed"
        raise InputError(f"--report-to {name} needs its package: pip install {name}, or leave it out ({here})")


def _corpus(job: Job, start: "Start") -> "Corpus":
    from nap.canvas.canvas import Canvas
    from nap.data.samples import Sample
    from nap.training.batches import lay_out
    from nap.training.corpus import check_every_slot, check_texts, read_corpus

    def laid_out(sample: Sample) -> Canvas:
        check_texts(sample, job.spec, start.tokenizer, start.ids.eos_ids)
        canvas = lay_out(sample, job.spec, start.tokenizer, start.ids.mask_id, start.ids.pad_id, words=start.words)
        if job.hyper.shuffle_paths and job.spec.paths > 1:
            check_every_slot(sample, job.spec, start.tokenizer)
        if start.max_length is not None and len(canvas) > start.max_length:
            raise InputError(f"its canvas takes {len(canvas)} tokens, the model has {start.max_length} positions")
        return canvas

    return read_corpus(job.data, job.spec.paths, laid_out, start.ids.mask_id)


def _setting(job: Job, corpus: "Corpus", start: "Start", dtype: str) -> dict[str, object]:
    """The setting that a resume must agree with; `dtype` is what the number type of its products came to."""
    from nap.models.identity import made_of as digests

    made_of = {
        "data": corpus.digest, "samples": len(corpus.samples), "revision": start.revision,
        "models": {job.model: digests(job.model, start.revision)},
    }  # fmt: skip
    return {
        "model": job.model, "data": job.data, "revision": job.revision, "add_tags": job.add_tags, "shift": start.shift,
        "canvas": job.spec.said(), "objective": asdict(job.objective), "hyper": asdict(job.hyper) | {"dtype": dtype},
        "nap": __version__, "made_of": made_of, "chat_template_kwargs": start.words,
    }  # fmt: skip


def _report_corpus(corpus: "Corpus", data: str, folder: Path, say: Callable[[str], None]) -> None:
    from nap.training.corpus import write_dropped

    write_dropped(corpus.dropped, folder / "dropped.jsonl")
    total = len(corpus.samples) + len(corpus.dropped)
    say(f"{len(corpus.samples)} of {total} samples of {data} fit; tags escaped in {corpus.escaped}")
    if corpus.dropped:
        row, name, reason = corpus.dropped[0]
        say(
            f"{len(corpus.dropped)} are left out, listed in {folder / 'dropped.jsonl'}; "
            f"the first is row {row} ({name}): {reason}"
        )
    if corpus.unsaid:
        say(f"the {corpus.unsaid} summaries have no slot on this canvas and are not trained")
    if corpus.masked:
        say(f"prompts that hold the model's own mask token, which stays a hole in them: {corpus.masked}")


def _report_gpus(job: Job, gpus: int, say: Callable[[str], None]) -> None:
    if gpus > 1 and which_process().of == 1:
        trains = f"this trains on one of {gpus} GPUs"
        several = job.objective.objective != "edit"
        say(f"{trains}; torchrun --nproc-per-node {gpus} -m nap train uses all" if several else trains)


def _report_epochs(batches: "DiffusionBatches", corpus: "Corpus", say: Callable[[str], None]) -> None:
    """Say how often each sample is seen, where that is not what a user of epochs expects."""
    steps, rows, samples = batches.batches, batches.batch_size, len(corpus.samples)
    draws = steps * rows
    if batches.epoch is None:
        say("an earlier version began this run, and it goes on as that dealt the samples: some are seen more often")
    elif draws % samples or rows > samples:
        more = f"; a batch holds more than the {samples} there are, so lower --batch-size" if rows > samples else ""
        say(f"{steps} x {rows} samples are {draws / samples:.4g} epochs: each is seen {corpus.seen(draws)}{more}")


def _batches(job: Job, corpus: "Corpus", start: "Start", *, by_epochs: bool) -> "DiffusionBatches":
    from nap.training.batches import DiffusionBatches

    hyper, processes = job.hyper, which_process().of
    if hyper.batch_size % processes:
        raise InputError(f"a batch of {hyper.batch_size} samples cannot be dealt out to {processes} processes")
    own = hyper.batch_size // processes
    # The largest passes, up to this many rows, that divide a process's share of a step evenly.
    passes = next(n for n in range(1, own + 1) if own % n == 0 and own // n <= hyper.rows)
    steps = hyper.steps or max(1, round(hyper.epochs * len(corpus.samples) / hyper.batch_size))
    check(f"the steps of {hyper.epochs:g} epochs", steps, STEPS)
    # An earlier version's stream goes on in a new epoch whatever the batch holds already.
    stream, epoch = corpus.stream(hyper.seed, hyper.batch_size if by_epochs else 1), len(corpus.samples)
    return DiffusionBatches(
        stream, job.spec, start.tokenizer, mask_id=start.ids.mask_id, pad_id=start.ids.pad_id,
        batch_size=hyper.batch_size, batches=steps, seed=hyper.seed, objective=job.objective,
        epoch=epoch if by_epochs else None, shuffle=hyper.shuffle_paths, parts=passes * processes, words=start.words,
    )  # fmt: skip


def _trainable(start: "Start", job: Job) -> "nn.Module":
    from nap.training import edit, lora

    hyper = job.hyper
    if job.objective.objective == "edit":
        edit.attach(start.model, start.ids.pad_id)
    if hyper.checkpointing:
        # transformers 4 and 5 have different names for it and for the Trainer's argument.
        old = start.model.gradient_checkpointing_enable
        getattr(start.model, "activation_checkpointing_enable", old)({"use_reentrant": False})
    return lora.attach(start, hyper.lora, hyper.seed) if hyper.lora else start.model


def _run(
    model: "nn.Module", start: "Start", batches: "DiffusionBatches", job: Job, watch: Watch, folder: Path, *,
    bf16: bool, say: Callable[[str], None], show: Callable[[int, int], None],
) -> "DiffusionTrainer":  # fmt: skip
    """The Trainer after its last step."""
    from transformers.utils import logging

    from nap.training.callbacks import DecodeEvery, Metrics
    from nap.training.edit import EditTrainer
    from nap.training.muon import muon_for
    from nap.training.trainer import DiffusionTrainer, run_trainer, training_arguments

    # A progress bar for every save would appear between the lines of the training.
    logging.disable_progress_bar()
    hyper, steps = job.hyper, batches.batches
    arguments = training_arguments(
        folder, batches, learning_rate=hyper.learning_rate, warmup_steps=int(hyper.warmup * steps),
        weight_decay=hyper.weight_decay, adam_beta2=0.95, max_grad_norm=hyper.clip, seed=hyper.seed, bf16=bf16,
        gradient_accumulation_steps=batches.parts // which_process().of, logging_steps=watch.log_every,
        save_steps=watch.save_every, report_to=watch.report_to, **_placement(hyper),
    )  # fmt: skip
    metrics = folder / "metrics.jsonl"
    callbacks: list[TrainerCallback] = [Metrics(metrics, say, show)]
    if watch.eval_task:
        callbacks.append(DecodeEvery(watch, start, job.spec, metrics, say))
    rates = hyper.learning_rate, hyper.matrix_learning_rate
    muon = muon_for(model, *rates, hyper.weight_decay) if hyper.optimizer == "muon" else None
    kind = EditTrainer if job.objective.objective == "edit" else DiffusionTrainer
    return run_trainer(model, batches, arguments, callbacks, muon, say, kind)


def _placement(hyper: Hyper) -> dict[str, object]:
    """The device of a training, and how it is spread over torchrun's processes."""
    import torch
    import transformers

    found: dict[str, object] = {} if torch.cuda.is_available() else {"use_cpu": True}
    if which_process().of > 1 and not torch.cuda.is_available():
        found["ddp_backend"] = "gloo"
    if hyper.fsdp:
        found |= {"fsdp": True, "fsdp_config": {"version": 2}}
        if transformers.__version__.startswith("4."):
            # The layers are the model's own, and every process has read the same weights. The rest it leaves to
            # accelerate's environment.
            os.environ |= {"FSDP_VERSION": "2", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT"}
            found |= {"fsdp": "full_shard auto_wrap", "fsdp_config": {"version": 2, "sync_module_states": "false"}}
    return found
