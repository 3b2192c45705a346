"""The tie bands of a run: in its rows, its tables, its files and its sentences, and nowhere without runners-up."""

import json

import pytest

from nap.commands.evaluate import print_summary
from nap.common.records import from_row
from nap.data.trace import RunnerUp
from nap.data.trace_files import read_traces
from nap.evaluation.findings import findings
from nap.evaluation.record_files import as_csv, as_json, read_record
from nap.evaluation.rows import Row
from nap.evaluation.run import run_sweep
from nap.evaluation.summary import summarise
from nap.evaluation.sweep import Sweep
from nap.evaluation.tables import TIES, markdown, table, tie_table
from nap.evaluation.ties import TIED, TieColumns, tie_columns
from nap.order.measure import measure
from nap.order.ties import reordered
from samples import chain

# As decoded, right, left, random: ties move ARness by .3, and it is .25 from random; tau-b by .3, and it is .5 from it.
ARNESS, TAU_B = (0.35, 0.2, 0.5, 0.1), (0.5, 0.4, 0.7, 0.0)


def cell(policy, arness=None, tau_b=None):
    columns = {"global_arness@1": 0.9, "tau_b": 0.9}
    for name, values in (("global_arness@1", arness), ("tau_b", tau_b)):
        if values:
            columns |= zip((name, f"{name}_rightmost", f"{name}_leftmost", f"{name}_blind"), values, strict=True)
    known = {"model": "m", "policy": policy, "pace": "1/step", "cell": f"m | {policy} | 1/step", "task": "t"}
    rows = [known | columns | {"problem_id": str(i), "correct": bool(i % 2), "tpf": 1.0} for i in range(4)]
    return [from_row(Row, row) for row in rows]


def test_a_metric_that_ties_move_further_than_it_is_from_random_is_not_identified(capsys):
    records = summarise(cell("low_confidence:keep=.1", ARNESS, TAU_B))
    (line,) = table(records)
    assert "0.35* ±0.00" in line and "0.50 ±0.00" in line
    found = [dict(zip(TIES, line, strict=True)) for line in tie_table(records)]
    assert [(one["metric"], one["with ties"], one["random"], one["less random"]) for one in found] == [
        ("ARness", "0.20 to 0.50", "0.10", "+0.25, not identified"), ("tau-b", "0.40 to 0.70", "0.00", "+0.50"),
    ]  # fmt: skip
    assert "+0.25, not identified" in markdown(records)
    print_summary(records, findings(records))
    assert "+0.25, not identified" in capsys.readouterr().out


def test_a_difference_from_the_baseline_is_held_to_the_wider_of_the_two_bands():
    other = (0.45, 0.4, 0.5, 0.1)
    rows = cell("low_confidence", other) + cell("random", ARNESS, TAU_B) + cell("ar")
    records = summarise(rows)
    assert [line[TIES.index("less the baseline")] for line in tie_table(records)] == ["-", "-0.10, not identified", "-"]
    sentence = findings(records)[1]
    assert sentence.endswith("Not identified: the difference of ARness, as ties alone move it by up to 0.30.")
    apart = summarise(cell("low_confidence", other) + cell("random", (0.1, 0.1, 0.1, 0.1)))
    assert "Not identified" not in findings(apart)[1]


def test_without_runners_up_nothing_is_said_of_ties():
    records = summarise(cell("low_confidence"))
    assert not tie_table(records) and "*" not in str(table(records)) and "identified" not in markdown(records)
    assert tie_columns(chain()) == TieColumns()


def test_the_bands_are_in_the_files_and_are_read_again():
    records = summarise(cell("low_confidence:keep=.1", ARNESS, TAU_B))
    assert [read_record(record) for record in json.loads(as_json(records))] == records
    assert "global_arness@1_leftmost_low" in as_csv(records).splitlines()[0]
    (old,) = json.loads(as_json(records))
    assert not tie_table([read_record({name: value for name, value in old.items() if "left" not in name})])


def test_the_rows_of_a_sweep_have_the_orders_that_nap_order_finds(tiny, tmp_path):
    policies = ("low_confidence:keep=0.5", "low_confidence", "ar")
    sweep = Sweep(task="arith", models=(str(tiny),), policies=policies, tokens_per_step=(1,), problems=2)
    rows = run_sweep(sweep, tmp_path / "run")
    kept, plain = rows[:2], rows[2:]
    assert all(getattr(row, name) is None for row in plain for name in TIED)
    for row, trace in zip(kept, read_traces(tmp_path / "run" / "traces.jsonl"), strict=False):
        left, right = (measure(reordered(trace, 0.5, side)) for side in ("left", "right"))
        assert (row.ties_within, row.tau_b_leftmost, row.tau_b_rightmost) == (0.5, left.whole.tau_b, right.whole.tau_b)
        assert row.path_global_arness_at_1_leftmost == left.path_at(1).global_arness
        assert row.tau_b_blind is not None and -1 <= row.tau_b_blind <= 1


@pytest.mark.parametrize("setting", [{}, {"runners_up": 3}, {"runners_up": {"keep": "x"}}, {"runners_up": {"keep": 1}}])
def test_a_trace_that_does_not_say_how_it_was_made_has_no_band(setting):
    near = ((RunnerUp(5, 0.0),),) + ((),) * 23
    assert tie_columns(chain(runners_up=near, setting=setting)) == TieColumns()
