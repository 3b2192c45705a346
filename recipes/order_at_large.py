"""Order at large: AFP and tau-b of eight models over the benchmarks of six groups, after 2601.15593.

    python recipes/order_at_large.py --list                                       # what would run, and what cannot
    python recipes/order_at_large.py --models GSAI-ML/LLaDA-8B-Instruct --benchmarks gsm8k drop --device cuda
    python recipes/order_at_large.py --models arith-nap --tasks-from my_tasks --benchmarks my_task     # local files

Needs lm-evaluation-harness (pip install 'nap-dlm[harness]'), the hub, and a GPU for the 8B models. Expected wall time:
some hours a model on one H100 with 100 problems of each (an estimate: here it ran on a bundled model and local files
alone). Each model and benchmark is a folder with the harness's results, its traces and order.json, and is not run
again; --page prints the table of all. Expected, by the paper: more parallel means less accurate, logic has a high
tau-b, formulaic spans go in parallel.

The paper has eight models of up to 100B and 58 benchmarks; neither list could be read here. GROUPS holds the benchmarks
that the tables of LLaDA2.0 and LLaDA2.1 (of some of the same authors) name in such groups, beside those of LLaDA and
Dream, each with its name in the harness, or None where the harness has no task for it in which anything is written (a
choice that is scored by log-likelihood has no order). MODELS are the open ones of that time. So this is the paper's
question on lists that are ours. For sudoku, `nap order` decodes the task of that name.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from nap.common.files import InputError, atomic, exits_on_bad_input, make_folder
from nap.common.text import markdown_table, printable, short
from nap.data.trace import Trace
from nap.data.trace_files import read_traces
from nap.order.means import Aggregate
from nap.order.measure import measure_all
from nap.order.order import order_of

MODELS = (
    "GSAI-ML/LLaDA-8B-Instruct", "GSAI-ML/LLaDA-1.5", "inclusionAI/LLaDA-MoE-7B-A1B-Instruct",
    "Dream-org/Dream-v0-Instruct-7B", "apple/DiffuCoder-7B-Instruct", "JetLM/SDAR-8B-Chat", "inclusionAI/LLaDA2.0-mini",
    "inclusionAI/LLaDA2.0-flash",
)  # fmt: skip
GROUPS: dict[str, dict[str, str | None]] = {
    "knowledge": {
        "MMLU": "mmlu_generative", "MMLU-Pro": "mmlu_pro", "GPQA": "gpqa_diamond_cot_zeroshot",
        "ARC-c": "arc_challenge_chat", "CMMLU": None, "C-Eval": None, "GAOKAO-Bench": None,
        "TriviaQA": "triviaqa", "PHYBench": None, "SciQ": None, "MMLU-Redux": "mmlu_redux_generative",
    },
    "math": {
        "GSM8K": "gsm8k_cot", "MATH": "minerva_math", "MATH-500": "minerva_math500", "GSM-Plus": "gsm_plus",
        "OlympiadBench": None, "AIME 2024": "aime24", "AIME 2025": "aime25", "ASDiv": "asdiv_cot_llama", "MathQA": None,
    },
    "reasoning": {
        "BIG-Bench Hard": "bbh_cot_zeroshot", "BIG-Bench Extra Hard": None, "bbh-zh": None, "MuSR": None,
        "ZebraLogic": None, "PrOntoQA": None, "KOR-Bench": None, "bAbI": "babi", "AGIEval": None, "Sudoku": None,
    },
    "language understanding": {
        "DROP": "drop", "SQuAD 2.0": "squadv2", "HellaSwag": None, "PIQA": None, "OCNLI": None,
        "WinoGrande": None, "CoQA": "coqa", "RACE": None, "TruthfulQA": "truthfulqa_gen",
        "CommonsenseQA": None, "OpenBookQA": None,
    },
    "agentic": {"BFCL": None, "IFEval": "ifeval", "Nexus": None, "Spider": None},
    "coding": {
        "HumanEval": "humaneval_instruct", "HumanEval+": "humaneval_plus", "MBPP": "mbpp_instruct",
        "MBPP+": "mbpp_plus", "MultiPL-E": None, "CRUXEval-O": None, "BigCodeBench": None, "LiveCodeBench": None,
    },
}  # fmt: skip
HEADER = (
    "model", "benchmark", "answers", "right %", "AFP", "tau-b", "AFP by third", "tau-b by third", "AFP right/wrong",
    "tau-b right/wrong",
)  # fmt: skip
ORDER = "order.json"


def known() -> dict[str, str]:
    """The benchmarks that the harness has, with their group."""
    return {task: group for group, named in GROUPS.items() for task in named.values() if task}


def listed() -> str:
    """What there is, group by group."""
    lines = [f"{len(MODELS)} models: {', '.join(MODELS)}", ""]
    for group, named in GROUPS.items():
        lines += [f"{group}:"]
        lines += [f"  {name:<22} {task or '- (no task in the harness that writes)'}" for name, task in named.items()]
    here = sum(len(named) for named in GROUPS.values())
    return "\n".join([*lines, "", f"{len(known())} of the {here} named here can run; the paper has 58"])


def verdicts(samples: dict[str, list[dict[str, Any]]]) -> dict[str, bool]:
    """By task and document whether the answer is right: the first of its metrics that is 0 or 1."""
    found = {}
    for task, documents in samples.items():
        for one in documents:
            scores = [one.get(name) for name in one.get("metrics", ())]
            right = next((bool(score) for score in scores if score in (0, 1, True, False)), None)
            if right is not None:
                found[f"{task}/{one['doc_id']}"] = right
    return found


def judged(traces: list[Trace], right: dict[str, bool]) -> list[Trace]:
    """The traces with the harness's verdicts; None where it gives no plain one."""
    return [replace(trace, correct=right.get(trace.problem_id.rpartition("/")[0])) for trace in traces]


def order_of_answers(traces: list[Trace]) -> dict[str, Any]:
    """Means of every order metric over all, right and wrong answers, with their thirds, as JSON."""
    aggregate = Aggregate()
    for trace, report in zip(traces, measure_all(map(order_of, traces), (1,)), strict=True):
        aggregate.add(report, trace.correct)
    return {name: means.json() for name, means in aggregate.means().items()}


def run(model: str, benchmark: str, folder: Path, options: argparse.Namespace) -> None:
    """One model on one benchmark by the harness: its results, traces and order.json."""
    from lm_eval import simple_evaluate  # pyright: ignore[reportMissingImports]
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]

    from nap.serving.lm_eval import HarnessModel

    make_folder(folder)
    opened = HarnessModel(
        model, policy=options.policy, cache=options.cache, canvas=options.canvas, out=folder, device=options.device
    )
    manager = TaskManager(include_path=options.tasks_from)
    found: Any = simple_evaluate(
        opened, tasks=[benchmark], limit=options.problems, task_manager=manager, log_samples=True, bootstrap_iters=0,
        apply_chat_template=bool(opened.chat_template()), confirm_run_unsafe_code=options.run_code,
    )  # fmt: skip
    if not opened.traces:
        raise InputError(f"{benchmark} asks for no text, so there is no order to measure; choose one that generates")
    traces = judged([*read_traces(folder / "traces.jsonl")], verdicts(found["samples"]))
    told = {"model": model, "benchmark": benchmark, "policy": options.policy, "results": found["results"]}
    with atomic(folder / ORDER) as file:
        file.write(json.dumps(told | {"order": order_of_answers(traces)}, indent=1, default=str) + "\n")


def line(told: dict[str, Any]) -> list[str]:
    """A line of the table."""
    order = told["order"]

    def of(side: str, name: str) -> str:
        return short(order.get(side, {}).get("mean", {}).get(name))

    counts = {side: order.get(side, {}).get("n_traces", 0) for side in ("all", "right", "wrong")}
    share = f"{100 * counts['right'] / judged:.1f}" if (judged := counts["right"] + counts["wrong"]) else "-"
    stages = order["all"]["mean"]["per_stage"].values()
    thirds = [" ".join(short(stage[name]) for stage in stages) for name in ("afp", "tau_b")]
    sides = [f"{of('right', name)} / {of('wrong', name)}" for name in ("afp", "tau_b")]
    return [
        printable(told["model"]), printable(told["benchmark"]), str(counts["all"]), share, of("all", "afp"),
        of("all", "tau_b"), *thirds, *sides,
    ]  # fmt: skip


def page(folder: Path) -> str:
    """The table of all that has run."""
    return markdown_table(HEADER, [line(json.loads(path.read_text())) for path in sorted(folder.glob(f"*/{ORDER}"))])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print models and benchmarks, and stop")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--benchmarks", nargs="+", default=[*known()], help="names of the harness's tasks")
    parser.add_argument("--tasks-from", help="a folder of tasks of your own, as the harness reads them")
    parser.add_argument("--problems", type=int, default=100, help="of each benchmark")
    parser.add_argument("--policy", default="threshold:tau=0.9", help="AFP needs a policy that sets its own pace")
    parser.add_argument("--cache", default="none")
    parser.add_argument("--canvas", choices=("own", "plain"), default="plain")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--run-code", action="store_true", help="let the harness run the code that models write")
    parser.add_argument("--out", type=Path, default=Path("runs/order-at-large"))
    parser.add_argument("--page", action="store_true", help="print the table of what has run, and stop")
    options = parser.parse_args()
    if options.list:
        print(listed())
        return 0
    for model in [] if options.page else options.models:
        for benchmark in options.benchmarks:
            folder = options.out / f"{model.strip('./').replace('/', '__')}-{benchmark}"
            if not (folder / ORDER).exists():
                run(model, benchmark, folder, options)
    print(page(options.out))
    return 0


if __name__ == "__main__":
    with exits_on_bad_input("order_at_large"):
        sys.exit(main())
