"""Caches as an axis of a sweep: each is compared with no cache on the same problems, and folders of one cache go on."""

import json
from typing import Any

import pytest

from nap.commands.evaluate import print_summary
from nap.common.files import InputError
from nap.common.journal import read_journal
from nap.common.records import from_row
from nap.data.cells import cell_of
from nap.data.trace_files import read_traces
from nap.evaluation.findings import findings
from nap.evaluation.probe import probe_paths
from nap.evaluation.record_files import as_json, read_record, write_summary
from nap.evaluation.rows import Row
from nap.evaluation.run import run_sweep
from nap.evaluation.summary import differing, summarise
from nap.evaluation.sweep import Sweep
from nap.evaluation.tables import CACHES, HEADER, cache_table, header, markdown, table
from nap.report.page import payload
from nap.report.runs import read_run
from tiny import save_tiny

PROBLEMS = 4


def sweep_of(model, *caches: str, **changes: Any) -> Sweep:
    known: dict[str, Any] = {"policies": ("low_confidence:block=4",), "tokens_per_step": (2,), "problems": PROBLEMS}
    return Sweep(task="arith", models=(str(model),), cache=caches, **known | changes)


def decoded(sweep, folder, **options) -> int:
    """Run, and how many problems that decoded."""
    fresh = list[int]()
    run_sweep(sweep, folder, report=lambda now: fresh.append(now.batch), **options)
    return sum(fresh)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Of two layers: in one alone keys depend on no other token."""
    return save_tiny(tmp_path_factory.mktemp("models") / "deep", num_hidden_layers=2)


@pytest.fixture(scope="module")
def several(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "several"
    run_sweep(sweep_of(tiny, "none", "exact", "dual", "prefix:refresh=2"), folder)
    return folder


def test_each_cache_is_a_cell_and_says_what_it_changed(several, tiny):
    cells = {cell_of(trace).name: [] for trace in read_traces(several)}
    for trace in read_traces(several):
        cells[cell_of(trace).name].append(trace)
    rows = summarise(run_sweep(sweep_of(tiny, "none", "exact", "dual", "prefix:refresh=2"), several))
    base = f"{tiny} | low_confidence:block=4 | 2/step"
    assert (
        [r.cell for r in rows]
        == list(cells)
        == [base, *(f"{base} | {c}" for c in ("exact", "dual", "prefix:refresh=2"))]
    )
    for record in rows[1:]:
        shares = []
        for one, other in zip(cells[base], cells[record.cell], strict=True):
            slots = [p for p, region in enumerate(one.region) if region >= 0]
            counted = [p for p in slots if {one.final[p], other.final[p]} - {*one.uncounted}]
            shares.append(sum(one.final[p] != other.final[p] for p in counted) / len(counted))
        assert record.changed.value == pytest.approx(sum(shares) / len(shares))
        assert record.without_cache and record.without_cache.baseline == base
    none, exact, dual, _ = rows
    assert none.changed.value is None and none.without_cache is None
    assert exact.changed.value == 0 and (dual.changed.value or 0) > 0, "a cache that changes nothing tests nothing"
    assert (dual.queries.value or 0) < (none.queries.value or 0)


def test_rows_without_a_cache_are_those_of_a_run_that_has_no_other(several, tiny, tmp_path):
    alone = run_sweep(sweep_of(tiny, "none"), tmp_path / "alone")
    together = run_sweep(sweep_of(tiny, "none", "exact", "dual", "prefix:refresh=2"), several)
    assert alone == together[:PROBLEMS]


def test_a_run_grows_by_a_cache_and_decodes_nothing_else(several, tiny, tmp_path):
    assert decoded(sweep_of(tiny, "none"), tmp_path / "run") == PROBLEMS
    assert decoded(sweep_of(tiny, "none", "dual"), tmp_path / "run") == PROBLEMS
    assert decoded(sweep_of(tiny, "dual"), tmp_path / "run") == 0
    whole = sweep_of(tiny, "none", "exact", "dual", "prefix:refresh=2")
    assert decoded(whole, tmp_path / "run") == 2 * PROBLEMS
    assert (several / "rows.parquet").read_bytes() == (tmp_path / "run/rows.parquet").read_bytes()


def _as_before(folder, cache):
    """The folder as the version left it that had one cache a run and did not say it in its rows."""
    setting = json.loads((folder / "setting.json").read_text())
    (folder / "setting.json").write_text(json.dumps(setting | {"cache": cache}))
    entries: list[Any] = [entry for entry, _ in read_journal(folder / "journal.jsonl")]
    for entry in entries:
        entry["row"]["cell"] = entry["row"]["cell"].removesuffix(f" | {cache}")
        del entry["row"]["cache"], entry["row"]["tokens"]
    (folder / "journal.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    for name in ("rows.parquet", "summary.json"):
        (folder / name).unlink(missing_ok=True)


def test_a_folder_of_one_cache_by_an_earlier_version_goes_on_and_grows(tiny, tmp_path):
    folder = tmp_path / "run"
    run_sweep(sweep_of(tiny, "dual"), folder)
    _as_before(folder, "dual")
    with pytest.raises(InputError, match="holds a run with another setting"):
        run_sweep(sweep_of(tiny, "none"), folder)
    said = list[str]()
    assert decoded(sweep_of(tiny, "dual"), folder, say=said.append) == 0
    assert decoded(sweep_of(tiny, "none", "dual"), folder, say=said.append) == PROBLEMS
    assert decoded(sweep_of(tiny, "none", "dual"), folder) == 0, "what had another name has it for good"
    assert not [line for line in said if "other problems" in line]
    *_, dual = read_run(folder).records
    assert dual.cache == "dual" and dual.changed.value is None, "that version did not keep the tokens"
    assert dual.without_cache


def test_a_folder_without_a_cache_by_an_earlier_version_goes_on(tiny, tmp_path):
    folder = tmp_path / "run"
    run_sweep(sweep_of(tiny, "none"), folder)
    _as_before(folder, "none")
    assert decoded(sweep_of(tiny, "none", "exact"), folder) == PROBLEMS


def test_a_probe_takes_one_cache(tiny, tmp_path):
    with pytest.raises(InputError, match="--probe paths takes one cache, got none, dual"):
        probe_paths(sweep_of(tiny, "none", "dual"), tmp_path / "run")


def test_the_page_draws_each_cache_as_a_line_of_its_own(several):
    run: Any = payload([read_run(several)])
    shown = [
        f"low_confidence:block=4{more}"
        for more in ("", *(f" ({c} cache)" for c in ("exact", "dual", "prefix:refresh=2")))
    ]
    (one,) = run["runs"]
    assert [record["policy"] for record in one["records"]] == shown == [heat["policy"] for heat in one["heat"]]
    assert {trace["policy"] for trace in run["traces"]} <= {*shown}


# Known answers


def cell(cache, correct, tokens):
    name = "m | ar | 1/step" + f" | {cache}" * (cache != "none")
    known = {"cell": name, "model": "m", "policy": "ar", "pace": "1/step", "task": "t", "cache": cache, "tpf": 2.0}
    return [
        from_row(Row, known | {"problem_id": f"p{i}", "correct": right == "1", "tokens": ids, "queries": 40})
        for i, (right, ids) in enumerate(zip(correct, tokens, strict=True))
    ]


def test_padding_counts_where_only_one_has_it():
    assert differing((1, 2, 3, -1), (1, 2, 3, -1)) == 0
    assert differing((1, 2, 3, -1), (1, 5, 3, 4)) == 0.5
    assert differing((-1, -1), (-1, -1)) is None and differing(None, (1,)) is None and differing((1,), (1, 2)) is None


def test_the_table_says_for_each_cache_what_it_changed_with_its_own_test(capsys, tmp_path):
    """Exact McNemar of none against 8: 2 / 2^8; of 1 against none: 1. Holm over the two, which share no other test."""
    records = summarise([
        *cell("none", "11111111111", [(1, 2, 3, 4)] * 11),
        *cell("dual", "00000000111", [(1, 2, 3, 9)] * 10 + [(7, 7, 7, 7)]),
        *cell("exact", "01111111111", [(1, 2, 3, 4)] * 11),
    ])  # fmt: skip
    lines = [dict(zip(CACHES, line, strict=True)) for line in cache_table(records)]
    assert [(line["cache"], line["changed %"].split(" ±")[0], line["points"], line["p (Holm)"]) for line in lines] == [
        ("none", "-", "-", "-"), ("dual", "31.82", "-72.7", "0.016"), ("exact", "0.00", "-9.1", "1"),
    ]  # fmt: skip
    assert header(records)[3] == "cache" and [line[3] for line in table(records)] == ["none", "dual", "exact"]
    write_summary(records, tmp_path)
    assert [read_record(record) for record in json.loads(as_json(records))] == records
    assert (tmp_path / "summary.md").read_text() == markdown(records) and "against no cache" in markdown(records)
    print_summary(records, findings(records))
    out = capsys.readouterr().out
    assert "changed %" in out and "-72.7" in out


def test_without_a_cache_the_table_is_as_it_was(capsys):
    records = summarise(cell("none", "10", [(1,), (2,)]))
    assert header(records) == HEADER and "against no cache" not in markdown(records)
    print_summary(records, [])
    assert "cache" not in capsys.readouterr().out


def test_a_baseline_is_met_at_the_cells_own_cache():
    rows = [row for cache in ("none", "dual") for row in cell(cache, "10", [(1,), (2,)])]
    other = [
        from_row(Row, vars(row) | {"policy": "random", "cell": row.cell.replace("ar", "random"), "tokens": None})
        for row in rows
    ]
    records = summarise([*rows, *other], baseline="m | ar")
    assert {r.cell: r.comparison.baseline for r in records if r.comparison} == {
        "m | random | 1/step": "m | ar | 1/step", "m | random | 1/step | dual": "m | ar | 1/step | dual",
    }  # fmt: skip
