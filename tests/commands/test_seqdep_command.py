"""`nap seqdep` and `nap seqdep filter`: what they print and write, and what they refuse."""

import itertools
import json
import math
import shlex
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nap.cli import main
from nap.common.rows import read_rows
from nap.data.problems import Problem
from nap.data.samples import Path, Sample, read_samples, write_samples
from nap.dependence.load import open_scorer
from nap.dependence.segments import Row
from nap.dependence.seqdep import cut_rows
from scorers import brute_force

POEMS = [
    {"prompt": "A cat?", "text": "the cat\nsat on\na mat", "id": 1},
    {"prompt": "A cat?", "text": "no cat\nsat here", "id": 2},
    {"prompt": "A dog?", "text": "the dog\nran off\nand on", "id": 3},
    {"prompt": "A bee?", "text": "one line", "id": 4},
]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys, llama):
    """Call `nap seqdep` on POEMS with the tiny scorer: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "poems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in POEMS))

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["nap", "seqdep", *map(str, arguments), "--scorer", str(llama)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return call


def test_the_next_command_keeps_the_least_sequential_rows_and_runs_as_it_is_printed(run, tmp_path):
    code, _, said = run("poems.jsonl")
    head, command = said.splitlines()[-2:]
    assert code == 0 and head == "next:" and command.startswith("  nap seqdep filter poems.jsonl --scorer ")
    words = shlex.split(command)
    scorer = words.index("--scorer")
    code, out, said = run(*words[2:scorer], *words[scorer + 2 :])
    assert code == 0 and "rows are in poems-kept.jsonl" in out and "next" not in said
    (tmp_path / "card.json").write_text('{"of": "another program"}')
    assert "nap seqdep filter" in run("poems.jsonl")[2]


def test_the_next_command_measures_the_same_texts_in_the_same_way(run, tmp_path):
    rows = [{"q": row["prompt"], "solution": row["text"], "text": "x\ny"} for row in POEMS]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = ["--text-field", "solution", "--prompt-field", "q", "--segments", "tokens:2", "--max-tokens", "12"]
    _, out, err = run("own.jsonl", "--json", *said, "--dtype", "auto")
    values = [json.loads(line)["seqdep"]["per_token"] for line in out.splitlines()[:-1]]
    words = shlex.split(err.splitlines()[-1])
    scorer = words.index("--scorer")
    assert words[scorer + 2 : words.index("--keep")] == [*said[:4], "--dtype", "auto", *said[4:]]
    words[words.index("--keep") + 1] = "1"
    assert run(*words[2:scorer], *words[scorer + 2 :])[0] == 0
    kept = [row.value["seqdep"] for row in read_rows(tmp_path / "own-kept.jsonl")]
    assert [value for value in kept if value is not None] == pytest.approx(values, abs=1e-5)


def test_texts_without_an_excess_are_counted(run, tmp_path):
    rows = [POEMS[0], POEMS[0], POEMS[1], {"text": "a dog\nran\noff"}, {"text": "a dog\nsat\non"}]
    (tmp_path / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    *_, total = (json.loads(line) for line in run("odd.jsonl", "--json")[1].splitlines())
    assert (total["repeated"], total["without_prompt"]) == (1, 2) and total["excess"]["per_segment"]["prompts"] == 1
    said = "no other sample of a prompt: 1 equal to an earlier text of their prompt, 2 without a prompt of their own"
    assert said in " ".join(run("odd.jsonl")[1].split()) and "other sample of a prompt:" not in run("poems.jsonl")[1]


def test_json_has_a_line_a_row_and_all_last_and_equals_the_brute_force(run, llama):
    code, out, _ = run("poems.jsonl", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [row["id"] for row in rows] == [f"poems.jsonl:{n}" for n in (1, 2, 3)] + ["all"]
    texts = cut_rows(open_scorer(str(llama)), [Row("", r["prompt"], r["text"]) for r in POEMS], "lines").texts
    for row, text in zip(rows, texts, strict=False):
        with_history, alone = brute_force(llama, text)
        assert row["seqdep"]["per_segment"] == pytest.approx((with_history - alone).mean(), abs=1e-4)
    assert [set(row) & {"control", "excess"} for row in rows[:3]] == [{"control", "excess"}] * 2 + [{"control"}]
    total = rows[-1]
    assert total["left_out"] == 1 and total["samples"] == 3 and total["prompts"] == 2
    assert total["seqdep"]["per_token"]["interval"] and total["excess"]["per_token"]["interval"] is None


def test_the_tables_name_every_measure_with_its_question(run):
    code, out, err = run("poems.jsonl")
    assert code == 0 and "3/3 measured" in err
    for name in ("seqdep", "control", "excess"):
        assert sum(line.startswith(name) for line in out.splitlines()) == 2
    assert "left out for having no history: 1" in out


def test_filter_keeps_the_least_sequential_rows_and_those_without_a_history(run, tmp_path):
    _, out, _ = run("poems.jsonl", "--json")
    values = {n: json.loads(line)["seqdep"]["per_token"] for n, line in enumerate(out.splitlines()[:3], 1)}
    limit = sorted(values.values())[1]
    code, out, _ = run("filter", "poems.jsonl", "--out", "kept.jsonl", "--keep", "0.5")
    kept = [json.loads(line) for line in (tmp_path / "kept.jsonl").read_text().splitlines()]
    assert code == 0 and "3 of 4 rows" in out
    assert {row["id"] for row in kept} == {n for n, value in values.items() if value <= limit + 1e-6} | {4}
    for row in kept:
        assert row["seqdep"] == (pytest.approx(values[row["id"]], abs=1e-5) if row["id"] in values else None)
        assert {key: row[key] for key in POEMS[0]} == POEMS[row["id"] - 1]


def test_rows_with_columns_of_their_own_keep_them_all_in_parquet(run, tmp_path):
    own, text = [{}, {"id": 7, "meta": {"x": 1}}, {"source": "web"}], {"text": "the cat\nsat on\na mat"}
    (tmp_path / "mixed.jsonl").write_text("".join(json.dumps(text | row) + "\n" for row in own))
    assert run("filter", "mixed.jsonl", "--out", "kept.parquet", "--keep", "1")[0] == 0
    missing = {"id": None, "meta": None, "source": None}
    kept = [{name: row.value[name] for name in missing} for row in read_rows(tmp_path / "kept.parquet")]
    assert kept == [missing | row for row in own]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"bytes": b"png"}, "bytes, which a .jsonl file cannot; write a .parquet file"),
        (math.nan, "NaN or an infinite number, which a .jsonl file cannot"),
    ],
)
def test_what_json_lines_cannot_hold_is_refused_by_row_and_column_before_a_scorer_is_opened(run, tmp_path, value, said):
    rows = [POEMS[0], POEMS[2] | {"image": value}]
    pq.write_table(pa.Table.from_pylist([{"image": None} | row for row in rows]), tmp_path / "images.parquet")
    code, out, err = run("filter", "images.parquet", "--out", "o.jsonl", "--keep", "1", "--device", "none")
    assert code == 2 and not out and f"images.parquet, row 2: 'image' holds {said}" in err and err.count("\n") == 1
    assert run("filter", "images.parquet", "--out", "o.parquet", "--keep", "1")[0] == 0
    kept = pq.read_table(tmp_path / "o.parquet")["image"].to_pylist()
    assert kept == [None, pytest.approx(value, nan_ok=True) if isinstance(value, float) else value]
    assert not (tmp_path / "o.jsonl").exists()


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_rows_from_standard_input_are_written_to_either_kind_of_file(llama, tmp_path, kind):
    command = ["-m", "nap", "seqdep", "filter", "-", "--scorer", llama, "--keep", "1", "--out", tmp_path / "o.parquet"]
    data = "".join(json.dumps(row) + "\n" for row in POEMS).encode()
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(POEMS), tmp_path / "poems")
        data = (tmp_path / "poems").read_bytes()
    subprocess.run([sys.executable, *command], input=data, capture_output=True, check=True)
    kept = [row.value for row in read_rows(tmp_path / "o.parquet")]
    assert [{name: row[name] for name in POEMS[0]} for row in kept] == POEMS


def test_weights_drop_nothing_and_fall_with_dependence(run, tmp_path):
    assert run("filter", "poems.jsonl", "--out", "w.jsonl", "--max-seqdep", "0.001", "--weight")[0] == 0
    rows = [json.loads(line) for line in (tmp_path / "w.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        above = row["seqdep"] is not None and row["seqdep"] > 0.001
        assert row["weight"] == pytest.approx(0.001 / row["seqdep"] if above else 1)
    assert any(row["weight"] < 1 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["poems.jsonl", "--segments", "line"], "did you mean 'lines'"),
        (["poems.jsonl", "--segments", "paths"], "all texts or all lists"),
        (["poems.jsonl", "--limit", "0"], "--limit must be at least 1"),
        (["poems.jsonl", "--max-tokens", "1"], "--max-tokens must be at least 2"),
        (["poems.jsonl", "--max-tokens", "9"], "no history to measure"),
        (["absent.jsonl"], "no such file: absent.jsonl"),
        (
            ["filter", "poems.jsonl", "--out", "o.csv", "--keep", "1"],
            "rows are written as .jsonl or .parquet, got 'o.csv'",
        ),
        (["filter", "poems.jsonl", "--out", "o.jsonl.gz", "--keep", "1"], "rows are written as .jsonl or .parquet"),
        (["filter", "poems.jsonl", "--out", "o.jsonl"], "give one of --max-seqdep"),
        (["filter", "poems.jsonl", "--out", "o.jsonl", "--keep", "2"], "--keep is a share"),
        (["filter", "poems.jsonl", "--out", "o.jsonl", "--max-seqdep", "nan"], "a finite number"),
        (["filter", "poems.jsonl", "--out", "o.jsonl", "--keep", "0.5", "--weight"], "--weight needs"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(run, tmp_path, arguments, said):
    code, out, err = run(*arguments)
    assert code == 2 and not out and said in err and err.count("\n") == 1
    assert not [*tmp_path.glob("o.*")]


def test_curated_samples_are_measured_and_filtered_into_a_file_of_samples(run, tmp_path):
    texts = "the cat sat", "no cat sat", "a long way off", "the dog ran"
    samples = [
        Sample(
            problem=Problem(id=str(n), task="t", prompt=f"{n}?", answer="1"),
            paths=(Path(text=a), Path(text=b)),
            summary="",
        )
        for n, (a, b) in enumerate(itertools.pairwise(texts))
    ]
    write_samples(samples, tmp_path / "samples.parquet")
    code, out, _ = run("samples.parquet", "--json")
    assert code == 0 and json.loads(out.splitlines()[-1])["segmenter"] == "paths"
    assert run("filter", "samples.parquet", "--out", "kept.parquet", "--keep", "0.6")[0] == 0
    kept = list(read_samples(tmp_path / "kept.parquet"))
    assert len(kept) == 2 and all(sample in samples for sample in kept)
    assert run("filter", "kept.parquet", "--out", "again.jsonl", "--keep", "1")[0] == 0
    rows = [json.loads(line) for line in (tmp_path / "again.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [sample.problem.id for sample in kept] and all(row["seqdep"] for row in rows)


def test_columns_can_be_named_and_one_that_is_not_there_names_the_flag(run, tmp_path):
    rows = [{"q": "A cat?", "solution": "the cat\nsat on\na mat"}]
    (tmp_path / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run("other.jsonl", "--text-field", "solution", "--prompt-field", "q")[0] == 0
    code, _, err = run("other.jsonl")
    assert code == 2 and "fields: 'q', 'solution'" in err and "--text-field" in err
    code, _, err = run("other.jsonl", "--text-field", "solution", "--prompt-field", "question")
    assert code == 2 and "known: q, solution" in err and "--prompt-field" in err
