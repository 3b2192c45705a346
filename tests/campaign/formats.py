"""A whole one of every file that `nap` reads, and the commands that read it: what the campaign spoils.

`make` writes them into a folder once; a trial spoils one file of a copy and runs a command that reads it. Models
are the tiny random one of `tiny.py`, so that a command takes a second at most.

Does not spoil anything (mutate.py).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trial

from samples import lanes
from scorers import save_causal
from tiny import QUESTION, save_tiny

PROBLEMS = [
    {"id": f"p{n}", "prompt": QUESTION.replace("5", f"{n + 5}"), "answer": str(n + 5), "meta": {"critical_path": 2}}
    for n in range(3)
]
# Of the run and of the training that are resumed.
EVAL = "eval --models model --task jsonl --data problems.jsonl --policies ar low_confidence --steps 4 --traces 2"
TRAIN = (
    "train --model model --data samples.parquet --steps 4 --batch-size 2 --rows 2 --learning-rate 1e-3 --log-every 1 "
    "--save-every 2"
)
CURATE = "curate --task jsonl --solutions solved.jsonl --paths 2 --path-tokens 40"


@dataclass(frozen=True, kw_only=True)
class Format:
    """Files of one kind, and the commands that read them; names are those in the folder that `make` writes.

    changes  names of ways to spoil one (mutate.KINDS)
    """

    name: str
    files: tuple[str, ...]
    changes: str
    commands: tuple[str, ...]


FORMATS = (
    Format(
        name="traces", files=("traces.jsonl",), changes="jsonl",
        commands=("order traces.jsonl", "order traces.jsonl --json", "trace show traces.jsonl --step 1",
                  "trace convert traces.jsonl out.parquet", "report traces.jsonl -o out.html"),
    ),
    Format(
        name="traces (Parquet)", files=("traces.parquet",), changes="parquet",
        commands=("order traces.parquet", "trace show traces.parquet --step 1", "report traces.parquet -o out.html",
                  "trace convert traces.parquet out.jsonl"),
    ),
    Format(name="bare orders", files=("orders.jsonl",), changes="jsonl", commands=("order orders.jsonl",)),
    Format(
        name="records of other systems", files=("canvases.json", "dllm.json", "pairs.json"), changes="json",
        commands=("trace import canvases.json out.jsonl --source canvases --mask-id 0",
                  "trace import dllm.json out.jsonl --source dllm --mask-id 0",
                  "trace import dllm.json out.jsonl --source dream --mask-id 0 --prompt-tokens 1",
                  "trace import pairs.json out.jsonl --source pairs"),
    ),
    Format(
        name="records (.npy)", files=("canvases.npy",), changes="npy",
        commands=("trace import canvases.npy out.jsonl --source canvases --mask-id 0",
                  "trace import canvases.npy out.parquet --source canvases --mask-id 0"),
    ),
    Format(
        name="problems", files=("problems.jsonl",), changes="jsonl",
        commands=("problems --task jsonl --data problems.jsonl",
                  "eval --models model --task jsonl --data problems.jsonl --steps 4 --policies ar --out new"),
    ),
    Format(
        name="outputs", files=("outputs.jsonl",), changes="jsonl",
        commands=("score outputs.jsonl --task jsonl", "score outputs.jsonl --task gsm8k --by group",
                  "score outputs.jsonl --task math500 --out scored.parquet",
                  "score outputs.jsonl --task multiarith --json",
                  "score outputs.jsonl --task multiarith --out scored.jsonl"),
    ),
    Format(
        name="solutions", files=("solved.jsonl",), changes="jsonl", commands=(f"{CURATE} --out new",)
    ),
    Format(
        name="samples", files=("samples.parquet",), changes="parquet",
        commands=(f"{TRAIN} --out new", "seqdep samples.parquet --scorer causal"),
    ),
    Format(
        name="texts", files=("texts.jsonl",), changes="jsonl",
        commands=("seqdep texts.jsonl --scorer causal", "seqdep texts.jsonl --scorer causal --json",
                  "seqdep filter texts.jsonl --out kept.jsonl --scorer causal --max-seqdep 1",
                  "seqdep filter texts.jsonl --out kept.parquet --scorer causal --max-seqdep 1"),
    ),
    Format(
        name="a run's setting", files=("run/setting.json",), changes="json",
        commands=("report run -o out.html", f"{EVAL} --out run"),
    ),
    Format(
        name="a run's journal", files=("run/journal.jsonl",), changes="journal",
        commands=("report run -o out.html", f"{EVAL} --out run", f"{EVAL} --out run --markdown"),
    ),
    Format(
        name="a run's results", files=("run/rows.parquet", "run/seconds.parquet"), changes="parquet",
        commands=("report run -o out.html --figures figures", f"{EVAL} --out run"),
    ),
    Format(
        name="a run's summary", files=("run/summary.json",), changes="json",
        commands=("report run -o out.html --figures figures",),
    ),
    Format(
        name="a training's files", files=("trained/metrics.jsonl",), changes="jsonl",
        commands=(f"{TRAIN} --out trained",),
    ),
    Format(
        name="a training's checkpoint",
        files=tuple(f"trained/checkpoint-{n}/{file}" for n in (2, 4) for file in (
            "model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json", "manifest.json", "config.json",
            "rng_state.pth", "training_args.bin")),
        changes="bytes", commands=(f"{TRAIN} --out trained",),
    ),
    Format(
        name="a checkpoint's texts",
        files=("model/config.json", "model/canvas.json", "model/tokenizer_config.json", "model/tokenizer.json",
               "model/generation_config.json"),
        changes="json",
        commands=("decode --model model --prompt pears", "decode --model model --prompt pears --json",
                  f"{TRAIN} --out new"),
    ),
    Format(
        name="a scorer's texts",
        files=("causal/config.json", "causal/tokenizer_config.json", "causal/tokenizer.json",
               "causal/generation_config.json"),
        changes="json",
        commands=("seqdep texts.jsonl --scorer causal",
                  "anticipate texts.jsonl --scorer causal --contexts 2 --samples 16 --distance 4"),
    ),
    Format(
        name="a checkpoint's weights", files=("model/model.safetensors",), changes="safetensors",
        commands=("decode --model model --prompt pears", "eval --models model --task jsonl --data problems.jsonl "
                  "--steps 4 --policies ar --out new"),
    ),
    Format(
        name="an adapter's setting", files=("adapter/adapter_config.json",), changes="json",
        commands=("decode --model adapter --prompt pears",),
    ),
    Format(
        name="an adapter's tensors", files=("adapter/adapter_model.safetensors",), changes="safetensors",
        commands=("decode --model adapter --prompt pears",),
    ),
    Format(
        name="a teacher's journal", files=("curated/journal.sqlite",), changes="bytes",
        commands=("curate --task jsonl --data problems.jsonl --teacher http://127.0.0.1:9/v1 --model m --offline "
                  "--paths 2 --out curated",),
    ),
    Format(
        name="a curated set's card", files=("curated/card.json", "curated/setting.json"), changes="json",
        commands=("curate --task jsonl --data problems.jsonl --teacher http://127.0.0.1:9/v1 --model m --offline "
                  "--paths 2 --out curated",),
    ),
)  # fmt: skip


def make(folder: Path) -> None:
    """Write one of everything."""
    save_tiny(folder / "model", max_position_embeddings=512)
    save_causal(folder / "causal")
    _lines(folder / "problems.jsonl", PROBLEMS)
    _lines(folder / "outputs.jsonl", [
        {"prompt": "2 + 3 ?", "answer": "5", "output": f"so \\boxed{{{n}}} #### {n}", "group": n % 2}
        for n in range(4, 7)
    ])  # fmt: skip
    texts = [{"text": "the cat sat\non the mat\nit was fat", "prompt": "a cat"}, {"text": "one\ntwo\nthree"}]
    _lines(folder / "texts.jsonl", texts)
    _lines(folder / "solved.jsonl", [
        {"id": f"s{n}", "prompt": f"{n} + 1 ?", "answer": str(n + 1), "solutions": [
            f"We add one to {n} and so we get \\boxed{{{n + 1}}}",
            f"Counting upwards, what follows {n} is \\boxed{{{n + 1}}}",
            f"Beside a pile of {n} stones lay another: \\boxed{{{n + 1}}} in all"]}
        for n in range(3)
    ])  # fmt: skip
    _orders(folder)
    _runs(folder)


def _orders(folder: Path) -> None:
    import numpy as np

    from nap.data.trace_files import write_traces

    traces = [lanes(problem_id=f"t{n}") for n in range(2)]
    write_traces(traces, folder / "traces.jsonl")
    write_traces(traces, folder / "traces.parquet")
    _lines(folder / "orders.jsonl", [[[n, 3 - n] for n in range(4)], [[n, n // 2] for n in range(6)]])
    canvases = [[7, 0, 0, 0], [7, 0, 4, 0], [7, 5, 4, 0], [7, 5, 4, 6]]
    (folder / "canvases.json").write_text(json.dumps(canvases))
    (folder / "dllm.json").write_text(json.dumps({"histories": [[step, step] for step in canvases]}))
    (folder / "pairs.json").write_text(json.dumps([[0, 1], [1, 0], [2, 2]]))
    np.save(folder / "canvases.npy", np.array(canvases))


def _runs(folder: Path) -> None:
    from nap.curation.journal import Journal, Reply
    from nap.curation.plan import Plan
    from nap.data.problems import Problem
    from nap.data.samples import Path as SamplePath
    from nap.data.samples import Sample, write_samples

    paths = tuple(SamplePath(text=text) for text in ("5 + 3", "3 + 5", "5 + 3 = 8"))
    asked = [Problem(id=f"s{n}", prompt=QUESTION, answer="8") for n in range(4)]
    write_samples((Sample(problem=one, paths=paths, summary="8") for one in asked), folder / "samples.parquet")
    plan = Plan(task="jsonl", data="problems.jsonl", models=("m",), paths=2)
    (folder / "curated").mkdir()
    with Journal(folder / "curated" / "journal.sqlite") as journal:
        for one in PROBLEMS:
            problem = Problem(id=one["id"], prompt=one["prompt"], answer=one["answer"])
            for n, request in enumerate(plan.requests(problem, [*plan.templates.values()])):
                journal.add(request, Reply(text=f"{'Well now' if n else 'See here'}, it is \\boxed{{{one['answer']}}}"))
    adapter = f"{TRAIN} --lora 2 --out lora"
    for command in (f"{EVAL} --out run", f"{TRAIN} --out trained", adapter, f"{commands_of('a teacher')[0]}"):
        found = trial.run([str(word) for word in command.split()], folder=folder)
        if found.code:
            raise RuntimeError(f"{command}: {trial.shown(found)}")
    (folder / "lora" / "final").rename(folder / "adapter")


def commands_of(name: str) -> tuple[str, ...]:
    """The commands of the format whose name begins so."""
    return next(one.commands for one in FORMATS if one.name.startswith(name))


def _lines(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
