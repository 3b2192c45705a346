"""How sequential real corpora are to SmolLM2-135M: SeqDep, its control, and excess dependence.

    python recipes/seqdep.py --scorer ../models/smollm2-135m --scale 1
    python recipes/seqdep.py --write

The first command measures the corpora that --runs lacks, one at a time, and can be killed and started again; a larger
--scale measures more prompts of each. The second writes the results in --runs to docs/seqdep.json and the tables of
docs/seqdep.md. `../shared/tools/get_models.sh smollm2` and gguf_to_hf.py make the scorer; the corpora are looked for in
NAP_DATA, and the curated set where recipes/curate_gsm8k.py puts it. Expected wall time: 12 minutes of one free core at
scale 1. Expected numbers: docs/seqdep.md.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from anticipation import between_marks

from nap.common.files import atomic, exits_on_bad_input, read_text
from nap.common.rows import read_rows
from nap.data.samples import join_paths, read_samples
from nap.dependence.causal import CausalScorer
from nap.dependence.load import open_scorer
from nap.dependence.segments import Row
from nap.dependence.seqdep import MEASURES, cut_rows, measure_corpus
from nap.dependence.summary import summarise
from nap.tasks.registry import data_file, load_task

ROOT = Path(__file__).resolve().parent.parent
MARK = "<!-- made by recipes/seqdep.py --write -->"
CURATED = ROOT / "runs/curate_gsm8k_qwen15/samples.parquet"
PATHS = 3
# Tokens that the scorer writes of each path of its own.
OWN_TOKENS = 48

Rows = list[Row]
Solved = list[tuple[str, list[str]]]


@dataclass(frozen=True)
class Corpus:
    """What is measured.

    title    in the tables
    rows     its texts, from the first so many prompts
    prompts  how many at scale 1
    how      segmenter
    most     tokens of a text that are read
    excess   whether rows of one prompt are independent draws from one source
    """

    title: str
    rows: Callable[[int], Rows]
    prompts: int
    how: str
    most: int
    excess: bool


# Texts


def gsm8k(count: int) -> Rows:
    rows = [row.value for row in read_rows(data_file("gsm8k/train.jsonl"))][:count]
    return [Row(f"gsm8k {i}", row["question"], row["answer"]) for i, row in enumerate(rows)]


def r1(count: int) -> Rows:
    """Of two models, one after the other, on the same five problems."""
    files = [data_file(f"multi_traj/rasbt_sample_{name}_outputs.json") for name in ("ollama", "openrouter")]
    rows = [row for file in files for row in json.loads(read_text(file))]
    return [Row(f"r1 {i}", row["problem"], row["message_thinking"]) for i, row in enumerate(rows[:count])]


def wikitext(count: int) -> Rows:
    paragraphs = [text.strip() for text in read_text(data_file("text/wikitext2_valid.txt")).split("\n")]
    long = [text for text in paragraphs if len(text) > 1200]
    return [Row(f"wikitext {i}", "", text) for i, text in enumerate(long[::12][:count])]


def shakespeare(count: int) -> Rows:
    lines = read_text(data_file("text/tinyshakespeare.txt")).split("\n")
    return [Row(f"line {i}", "", "\n".join(lines[i : i + 40])) for i in range(0, 1500 * count, 1500)]


def math_solved(count: int) -> Solved:
    """(question, eight sampled solutions) of the problems with the shortest longest solution: few are quick to read."""
    rows = [row.value for row in read_rows(data_file("multi_traj/qwen2.5-math_math100x8.jsonl"))]
    rows.sort(key=lambda row: max(map(len, row["code"])))
    return [(row["question"], row["code"]) for row in rows[:count]]


def as_paths(solved: Solved, samples: int = 2) -> Rows:
    """`samples` samples of PATHS paths for each problem."""
    starts = range(0, samples * PATHS, PATHS)
    return [Row(question, question, texts[i : i + PATHS]) for question, texts in solved for i in starts]


def as_texts(solved: Solved) -> Rows:
    """Two samples of one path for each problem."""
    return [Row(question, question, text) for question, texts in solved for text in texts[:2]]


def as_chains(rows: Rows) -> Rows:
    """The paths of each row one after the other as a text."""
    return [row._replace(content=join_paths(list(row.content))) for row in rows]


def arith(count: int) -> Rows:
    samples: list[Any] = [load_task("arith").sample(0, index) for index in range(count)]
    return [Row(s.problem.id, s.problem.prompt, [path.text for path in s.paths]) for s in samples]


def arith_chains(count: int) -> Rows:
    """One statement a line."""
    return [row._replace(content=str(row.content).replace(" ; ", "\n")) for row in as_chains(arith(count))]


def curated_solved(count: int, file: Path) -> Solved:
    """(question, its paths) of the first samples of a curated set."""
    return [(s.problem.prompt, [path.text for path in s.paths]) for s in islice(read_samples(file), count)]


def own_solved(count: int, runs: Path, scorer: CausalScorer) -> Solved:
    """(question, independent continuations at temperature 1) of GSM8K test questions by the scorer itself, kept."""
    kept = runs / "own.jsonl"
    found = [(row.value["question"], row.value["texts"]) for row in read_rows(kept)] if kept.exists() else []
    questions = [row.value["question"] for row in read_rows(data_file("gsm8k/test.jsonl"))]
    for index in range(len(found), count):
        found.append((questions[index], continuations(scorer, questions[index], index)))
        with atomic(kept) as file:
            file.writelines(json.dumps({"question": q, "texts": texts}) + "\n" for q, texts in found)
    return found[:count]


def continuations(scorer: CausalScorer, question: str, seed: int) -> list[str]:
    """Enough for two samples of PATHS paths."""
    import torch

    torch.manual_seed(seed)
    ids = torch.tensor([[*scorer.start, *scorer.encode(question + "\n")]])
    written = scorer.model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
        num_return_sequences=2 * PATHS, max_new_tokens=OWN_TOKENS, pad_token_id=scorer.tokenizer.eos_token_id,
    )  # fmt: skip
    return scorer.tokenizer.batch_decode(written[:, ids.shape[1] :], skip_special_tokens=True)


def corpora(runs: Path, scorer: Any, curated: Path = CURATED) -> dict[str, Corpus]:
    """By name, the quick ones that say most first. `curated` is what recipes/curate_gsm8k.py made."""

    def own(count: int) -> Solved:
        return own_solved(count, runs, scorer)

    def made(count: int) -> Solved:
        return curated_solved(count, curated)

    return {
        "own-paths": Corpus("SmolLM2's own paths, 3 a sample", lambda n: as_paths(own(n)), 6, "paths", 512, True),
        "own-texts": Corpus("the same, one path, tokens:16", lambda n: as_texts(own(n)), 6, "tokens:16", 512, True),
        "gsm8k": Corpus("GSM8K solutions, lines", gsm8k, 16, "lines", 512, False),
        "math-paths": Corpus("MATH, 3 solutions as paths", lambda n: as_paths(math_solved(n)), 4, "paths", 1024, True),
        "math-texts": Corpus("MATH, one solution, lines", lambda n: as_texts(math_solved(n)), 6, "lines", 512, True),
        "math-chains": Corpus(
            "MATH, 3 solutions as one chain, lines", lambda n: as_chains(as_paths(math_solved(n), 1)), 4, "lines",
            1024, False,
        ),
        "curated-paths": Corpus(
            "GSM8K curated, 3 paths", lambda n: as_paths(made(n), 1), 12, "paths", 1280, False
        ),
        "curated-chains": Corpus(
            "GSM8K curated, 3 paths as one chain, lines", lambda n: as_chains(as_paths(made(n), 1)), 12, "lines", 1280,
            False,
        ),
        "curated-texts": Corpus("GSM8K curated, one path, lines", lambda n: as_texts(made(n)), 12, "lines", 512, True),
        "arith-paths": Corpus("arith, 3 paths", arith, 8, "paths", 1024, False),
        "arith-chains": Corpus("arith, 3 paths as one chain, lines", arith_chains, 8, "lines", 1024, False),
        "r1": Corpus("R1 traces, lines", r1, 5, "lines", 512, False),
        "wikitext": Corpus("wikitext paragraphs, sentences", wikitext, 8, "sentences", 256, False),
        "shakespeare": Corpus("tinyshakespeare, lines", shakespeare, 8, "lines", 256, False),
        "math-eight": Corpus(
            "MATH, 8 solutions as paths", lambda n: [Row(q, q, texts) for q, texts in math_solved(n)], 4, "paths", 2048,
            False,
        ),
    }  # fmt: skip


def measured(scorer: CausalScorer, corpus: Corpus, prompts: int) -> dict[str, Any]:
    """One corpus's numbers, with what they were made from."""
    cut = cut_rows(scorer, corpus.rows(prompts), corpus.how, corpus.most)
    results = measure_corpus(scorer, cut.texts, excess=corpus.excess)
    setting = {"title": corpus.title, "segmenter": corpus.how, "most_tokens": corpus.most, "asked": prompts}
    setting |= {"scorer": Path(scorer.name).name, "date": datetime.now(UTC).date().isoformat()}
    return setting | {"shortened": cut.shortened} | asdict(summarise(cut.texts, results))


# Tables


def tables(results: dict[str, Any]) -> str:
    """The Markdown of docs/seqdep.md: one line a corpus, and the curves."""
    if not results:
        return "Nothing has been measured yet."
    return "\n".join([*_means(results), "", *_curves(results)])


def _means(results: dict[str, Any]) -> Iterator[str]:
    yield (
        "| corpus | prompts | segments of tokens | "
        + " | ".join(f"{name}, nats a token" for name in MEASURES)
        + (" | seqdep, nats a segment | seqdep's rise, nats a token |")
    )
    yield "|---" * 8 + "|"
    for name, own in results.items():
        cells = [f"`{name}`: {own['title']}", str(own["prompts"])]
        cells += [f"{own['segments_a_sample']:.1f} of {own['tokens_a_segment']:.0f}"]
        cells += [_shown((own[measure] or {}).get("per_token")) for measure in MEASURES]
        cells += [_shown(own["seqdep"]["per_segment"], 1), _shown(own["seqdep"]["rise_per_token"])]
        yield f"| {' | '.join(cells)} |"


def _curves(results: dict[str, Any]) -> Iterator[str]:
    spans = sorted({tuple(point["segments"]) for own in results.values() for point in own["seqdep"]["curve"]})
    yield "| seqdep / control, nats a token, at segment | " + " | ".join(_span(*span) for span in spans) + " |"
    yield "|---" * (len(spans) + 1) + "|"
    for name, own in results.items():
        curves = [_curve(own[measure]) for measure in ("seqdep", "control")]
        yield f"| `{name}` | " + " | ".join(" / ".join(_mean(c.get(span)) for c in curves) for span in spans) + " |"


def _curve(own: dict[str, Any] | None) -> dict[tuple[int, int], Any]:
    return {tuple(point["segments"]): point["per_token"] for point in (own["curve"] if own else [])}


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _mean(estimate: dict[str, Any] | None) -> str:
    return "-" if estimate is None else f"{estimate['mean']:.2f}"


def _shown(estimate: dict[str, Any] | None, digits: int = 2) -> str:
    if estimate is None:
        return "-"
    ends = estimate["interval"]
    spread = f" [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]" if ends else ""
    return f"{estimate['mean']:.{digits}f}{spread}"


def written(text: str, results: dict[str, Any]) -> str:
    """The page with the part between its two marks made anew. Raises InputError unless it has two."""
    return between_marks(text, Path("docs/seqdep.md"), MARK, lambda: tables(results))


def read_runs(runs: Path) -> dict[str, Any]:
    """What has been measured, in the sequence of `corpora`."""
    files = {name: runs / f"{name}.json" for name in corpora(runs, None)}
    return {name: json.loads(read_text(file)) for name, file in files.items() if file.exists()}


def write(runs: Path, page: Path) -> None:
    """Put what is in `runs` beside the page and into its tables."""
    results = read_runs(runs)
    text = written(read_text(page), results)
    for path, content in ((page.with_suffix(".json"), json.dumps(results, indent=1) + "\n"), (page, text)):
        with atomic(path) as file:
            file.write(content)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scorer", default=str(ROOT.parent / "models/smollm2-135m"), help="folder of SmolLM2-135M")
    parser.add_argument("--scale", type=float, default=1.0, help="times the prompts of each corpus")
    parser.add_argument("--only", nargs="*", choices=corpora(Path(), None), help="these corpora")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/seqdep", help="what has been measured")
    parser.add_argument("--curated", type=Path, default=CURATED, help="samples of recipes/curate_gsm8k.py")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/seqdep.md")
    parser.add_argument("--write", action="store_true", help="write the page's tables and measure nothing")
    options = parser.parse_args()
    if options.write:
        write(options.runs, options.page)
        return
    scorer: Any = open_scorer(options.scorer)
    for name, corpus in corpora(options.runs, scorer, options.curated).items():
        prompts = max(round(options.scale * corpus.prompts), 2)
        done = read_runs(options.runs).get(name, {}).get("asked") == prompts
        if done or (options.only and name not in options.only):
            continue
        if name.startswith("curated") and not options.curated.exists():
            print(f"{name}: there is no {options.curated}", flush=True)
            continue
        results = measured(scorer, corpus, prompts)
        with atomic(options.runs / f"{name}.json") as file:
            json.dump(results, file, indent=1)
        print(f"{name}: {results['seqdep']['per_token']}", flush=True)


if __name__ == "__main__":
    with exits_on_bad_input("seqdep"):
        main()
