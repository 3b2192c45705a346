"""The finished model of a training, whole or absent: weights or adapter, tokenizer, canvas, training.json, README.md.

The README says which data and settings made it, and how to decode with it. Does not train or write checkpoints
(trainer.py).
"""

import json
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nap.common.files import InputError, sync_files, sync_folder
from nap.common.folder import flat
from nap.common.text import fenced, markdown_table
from nap.training.checkpoints import not_saved
from nap.training.settings import Job

if TYPE_CHECKING:
    from nap.training.corpus import Corpus
    from nap.training.start import Start
    from nap.training.trainer import DiffusionTrainer


def is_finished(final: Path) -> bool:
    """Whether the model is there. Raises InputError if something else is in its place."""
    if (final / "training.json").is_file():
        return True
    if final.exists():
        raise InputError(f"{final} is in the model's place and no training made it; move it away")
    return False


def write_final(
    trainer: "DiffusionTrainer", start: "Start", job: Job, setting: Mapping[str, object], corpus: "Corpus", folder: Path
) -> None:
    """Write `folder`/final. Raises InputError if the disk does not take it, or its place was taken meanwhile."""
    partial, final, first = folder / ".final.partial", folder / "final", trainer.is_world_process_zero()
    try:
        if first:
            # Files that a killed run or a person left there are not part of the model.
            shutil.rmtree(partial, ignore_errors=True)
        write_model(trainer, start, job, setting, corpus, partial)
        if first:
            sync_files(partial)
    except Exception as error:
        if first:
            shutil.rmtree(partial, ignore_errors=True)
        raise not_saved(final, error) from error
    if first and not is_finished(final):
        partial.rename(final)
        sync_folder(folder)


def write_model(
    trainer: "DiffusionTrainer", start: "Start", job: Job, setting: Mapping[str, object], corpus: "Corpus", folder: Path
) -> None:
    """Write the files of the model into `folder`: all processes take part, the first one writes."""
    from nap.decoding.editor import save_editor
    from nap.training.edit import detach

    editor = detach(start.model, start.ids.mask_id)
    # Every process holds a share of sharded weights.
    trainer.save_model(str(folder))
    if editor:
        save_editor(editor, folder)
    if not trainer.is_world_process_zero():
        return
    (folder / "training_args.bin").unlink(missing_ok=True)
    if job.hyper.lora:
        # Of the model that the adapter makes.
        start.model.config.to_json_file(folder / "config.json")
    start.tokenizer.save_pretrained(folder)
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    result = {"steps": trainer.state.global_step, "loss": losses[-1] if losses else None}
    draws = trainer.state.global_step * job.hyper.batch_size
    epochs = f"{draws / len(corpus.samples):.4g}, each sample seen {corpus.seen(draws)}"
    # A run that an earlier version began saw some samples more often than others.
    seen = {"epochs": epochs} if "dealt" in setting else {}
    run = folder.parent
    names = {"name": run.resolve().name, "folder": str(run / "final"), "command": decode_command(run / "final", corpus)}
    texts = {
        "canvas.json": json.dumps(job.spec.said(), indent=1) + "\n",
        "README.md": model_card(setting, _data(job, corpus) | seen, names | result),
        "training.json": json.dumps({**setting, "result": result}, indent=1) + "\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def decode_command(final: Path, corpus: "Corpus") -> str:
    """The command that decodes the shortest prompt of the samples with the model in `final`."""
    prompt = min((sample.problem.prompt for sample in corpus.samples), key=len)
    return shlex.join(["nap", "decode", "--model", str(final), "--prompt", prompt])


def _data(job: Job, corpus: "Corpus") -> dict[str, object]:
    return {
        "file": job.data, "digest (blake2b)": corpus.digest, "samples used": len(corpus.samples),
        "samples left out": len(corpus.dropped), "samples with escaped tags": corpus.escaped,
        "summaries without a slot, not trained": corpus.unsaid, "prompts with the mask token": corpus.masked,
        "canvas positions an epoch": corpus.tokens,
    }  # fmt: skip


def model_card(setting: Mapping[str, object], data: Mapping[str, object], results: Mapping[str, object]) -> str:
    """The card as Markdown. `setting` is that of the run, and `data` says which part of the file was used."""
    return "\n".join(
        [
            "---", "library_name: nap-dlm", f"base_model: {json.dumps(str(setting['model']))}",
            "tags: [masked-diffusion, nap]", "---", "", f"# {results['name']}", "",
            "A masked diffusion language model, trained by `nap train`. Decode it:", "",
            fenced(str(results["command"]), "sh"),
            f"No accuracy is claimed here: measure it with `nap eval --models {results['folder']} --task TASK`.", "",
            "## Data", "", _table(data), "## Setting", "", _table(flat(dict(setting))), "## Result", "",
            _table({name: value for name, value in results.items() if name not in ("name", "folder", "command")}),
        ]
    )  # fmt: skip


def _table(values: Mapping[str, object]) -> str:
    return markdown_table(("", ""), values.items())
