"""A summary holds the known answers of hand-made rows, the same in every file, and its sentences say what they say."""

import csv
import io
import json
import math

import pytest

from nap.commands.evaluate import print_summary
from nap.common.files import InputError
from nap.common.records import from_row
from nap.evaluation.findings import findings
from nap.evaluation.record_files import as_csv, as_json, read_record, write_summary
from nap.evaluation.rows import Row, Seconds
from nap.evaluation.summary import shown_names, summarise
from nap.evaluation.tables import HEADER, markdown, table

# Of 12 problems the baseline solves 4, `better` 11 (8 that the baseline does not, and not 1 that it does), ...
BASE = "111100000000"
BETTER = "011111111111"
SAME = "111100000000"
WORSE = "000000000000"


def cell(model, policy, pace, correct, **columns):
    """One row a problem; a column is one value, or one a problem."""
    rows = []
    for index, right in enumerate(correct):
        row = {"cell": f"{model} | {policy} | {pace}", "model": model, "policy": policy, "pace": pace, "task": "t"}
        row |= {"problem_id": f"p{index}", "correct": right == "1"}
        given = {"tpf": 2.0, "global_arness@1": 0.5, "path_global_arness@1": 0.75} | columns
        given = {name: value[index] if isinstance(value, list) else value for name, value in given.items()}
        rows.append(from_row(Row, row | given))
    return rows


def records_of(*cells, **options):
    return summarise([row for rows in cells for row in rows], **options)


def summary(*cells, **options):
    """The records as JSON has them, by cell."""
    return {record["cell"]: record for record in json.loads(as_json(records_of(*cells, **options)))}


# Known answers


def test_accuracy_has_wilsons_interval():
    records = summary(cell("m", "ar", "1/step", "1" * 8 + "00"), cell("m", "random", "1/step", "0" * 10))
    first, last = records.values()
    assert (first["problems"], first["right"], first["accuracy"]) == (10, 8, 0.8)
    assert first["accuracy_interval"] == pytest.approx([0.4902, 0.9433], abs=1e-4)
    assert last["accuracy_interval"] == pytest.approx([0, 0.2775], abs=1e-4)


def test_each_cell_is_tested_against_the_baseline_at_its_own_pace():
    """Exact McNemar of 8 against 1: 2 (C(9,0) + C(9,1)) / 2^9. Of 4 against none: 2 / 2^4. Holm over all four."""
    records = summary(
        cell("a", "low_confidence", "1/step", BASE),
        cell("a", "low_confidence", "8/step", WORSE),
        cell("a", "ar", "1/step", BETTER),
        cell("b", "low_confidence", "1/step", SAME),
        cell("b", "low_confidence", "8/step", SAME),
        cell("b", "ar", "1/step", WORSE),
        cell("b", "ar", "2/step", BETTER),
        cell("b", "threshold", "own", BETTER),
    )
    tested = {
        name: (r["baseline"], r["gain"], r["p_value"], r["p_holm"])
        for name, r in records.items()
        if r["gain"] is not None
    }
    one, eight = "a | low_confidence | 1/step", "a | low_confidence | 8/step"
    assert tested == {
        "a | ar | 1/step": (one, 7 / 12, 20 / 512, 4 * 20 / 512),
        "b | low_confidence | 1/step": (one, 0, 1, 1),
        "b | low_confidence | 8/step": (eight, 4 / 12, 2 / 16, 3 * 2 / 16),
        "b | ar | 1/step": (one, -4 / 12, 2 / 16, 3 * 2 / 16),
    }


@pytest.mark.parametrize(
    ("wanted", "compared"),
    [
        ("b | ar", {"a | ar | 1/step": "b | ar | 1/step"}),
        ("b | ar | 1/step", {"a | ar | 1/step": "b | ar | 1/step", "b | ar | 2/step": "b | ar | 1/step"}),
        (None, {}),
    ],
)
def test_the_baseline_is_the_one_asked_for(wanted, compared):
    cells = [cell("a", "ar", "1/step", BASE), cell("b", "ar", "1/step", BETTER), cell("b", "ar", "2/step", BASE)]
    records = summary(*cells, baseline=wanted)
    assert {name: r["baseline"] for name, r in records.items() if r["baseline"]} == compared


@pytest.mark.parametrize("wanted", ["b", "b | a", "b | ar | 4/step", "a | low_confidence"])
def test_a_baseline_that_did_not_run_is_refused(wanted):
    with pytest.raises(InputError, match=r"no cell '.*' to compare with; there are: b \| ar \| 1/step"):
        summary(cell("b", "ar", "1/step", BASE), baseline=wanted)


def test_cells_over_different_problems_are_not_compared():
    with pytest.raises(InputError, match="not run on the same problems"):
        summary(cell("m", "low_confidence", "1/step", BASE), cell("m", "ar", "1/step", BASE[1:]))


def test_no_rows_have_no_summary():
    with pytest.raises(InputError, match="no rows"):
        summarise([])


def test_means_are_over_the_problems_that_have_a_value():
    columns = {"afp": [None, 1.0, 2.0, 6.0], "tau_b": None, "forwards": [None, None, None, 8]}
    (record,) = summary(cell("m", "ar", "1/step", "1010", **columns)).values()
    assert record["afp"] == 3 and record["tau_b"] is None and record["forwards"] == 8
    low, high = record["afp_interval"]
    assert 1 <= low < 3 < high <= 6
    assert record["tau_b_interval"] is None and record["forwards_interval"] is None, "one value has no spread"
    assert record["tpf_interval"] == [2, 2]


def test_the_interval_of_a_mean_is_its_bootstrap():
    """The mean of 100 draws of 0 or 1 is a binomial: its 2.5 and 97.5 % quantiles are 40 and 60."""
    (record,) = summary(cell("m", "ar", "1/step", "1" * 100, afp=[0.0, 1.0] * 50)).values()
    assert record["afp_interval"] == pytest.approx([0.40, 0.60], abs=0.011)
    again = summary(cell("m", "ar", "1/step", "1" * 100, afp=[0.0, 1.0] * 50))
    assert record == again["m | ar | 1/step"]


def test_right_and_wrong_answers_are_averaged_apart():
    columns = {"afp": [1.0, 2.0, 4.0, None], "global_arness@1": [0.1, 0.2, 0.3, 0.5]}
    (record,) = summary(cell("m", "ar", "1/step", "1100", **columns)).values()
    assert (record["afp_right"], record["afp_wrong"]) == (1.5, 4)
    assert (record["global_arness@1_right"], record["global_arness@1_wrong"]) == pytest.approx((0.15, 0.4))
    (record,) = summary(cell("m", "ar", "1/step", "1111", **columns)).values()
    assert record["afp_wrong"] is None


def test_aup_is_of_all_paces_of_a_model_and_policy_against_the_best_of_the_sweep():
    paces = [("1/step", "1" * 50, 1.0), ("2/step", "1" * 48 + "00", 2.0), ("4/step", "1" * 40 + "0" * 10, 4.0)]
    cells = [cell("m", "ar", pace, correct, tpf=tpf) for pace, correct, tpf in paces]
    records = summary(*cells, cell("m", "random", "1/step", "1" * 25 + "0" * 25, tpf=3.0))
    # 80 % is more than 5 points below the first and does not count; 96 % weighs exp(-3 (1 - .96)).
    expected = 1 * 100 + (2 - 1) * (100 + 96 * math.exp(-3 * 0.04)) / 2
    assert [records[f"m | ar | {pace}"]["aup"] for pace, *_ in paces] == pytest.approx([expected] * 3)
    assert records["m | random | 1/step"]["aup"] == pytest.approx(3 * 50)


def test_where_nothing_is_solved_there_is_no_aup():
    assert {r["aup"] for r in summary(cell("m", "ar", "1/step", WORSE)).values()} == {None}


def test_parallel_efficiency_is_over_the_problems_that_know_their_critical_path():
    columns = {"critical_path": [2, None, 3, 4], "forwards": [8, 8, 4, None]}
    (record,) = summary(cell("m", "ar", "1/step", "1111", **columns)).values()
    assert record["parallel_efficiency"] == (2 / 8 + 3 / 4) / 2


def test_seconds_are_a_problems_mean_and_unknown_without_a_clock():
    cells = [cell("m", "ar", "1/step", "10"), cell("m", "random", "1/step", "10")]
    seconds = [Seconds(cell="m | ar | 1/step", problem_id=f"p{i}", seconds=s) for i, s in enumerate((1.0, 2.0))]
    assert [r["seconds"] for r in summary(*cells, seconds=seconds).values()] == [1.5, None]


# The same numbers everywhere

CELLS = [
    cell("a", "low_confidence", "1/step", BASE, afp=1.0, tau_b=[i / 12 for i in range(12)]),
    cell("a", "parallel_forced", "1/step", BETTER, afp=3.0),
    cell("a", "threshold", "own", BASE, **dict.fromkeys(("tpf", "global_arness@1", "path_global_arness@1"))),
]


def test_csv_markdown_and_json_hold_the_same_numbers(tmp_path):
    made = records_of(*CELLS)
    write_summary(made, tmp_path)
    records = json.loads((tmp_path / "summary.json").read_text())
    assert [read_record(record) for record in records] == made and records == list(summary(*CELLS).values())
    lines = list(csv.DictReader(io.StringIO((tmp_path / "summary.csv").read_text())))
    for line, record in zip(lines, records, strict=True):
        for key, value in record.items():
            if key.endswith("_interval"):
                name, ends = key.removesuffix("_interval"), value or (None, None)
                assert [line[f"{name}_low"], line[f"{name}_high"]] == ["" if e is None else str(e) for e in ends]
            else:
                assert line[key] == ("" if value is None else str(value))
    rows = [[part.strip() for part in line.strip("| ").split(" | ")] for line in markdown(made).splitlines()]
    assert rows[0] == list(HEADER) and rows[2:] == table(made)
    for line, record in zip(table(made), records, strict=True):
        shown = dict(zip(HEADER, line, strict=True))
        low, high = record["accuracy_interval"]
        assert shown["accuracy %"] == f"{100 * record['accuracy']:.1f} [{100 * low:.0f}, {100 * high:.0f}]"
        for column, name in (("tpf", "TPF"), ("global_arness@1", "ARness"), ("afp", "AFP"), ("tau_b", "tau-b")):
            assert shown[name].split(" ±")[0] == ("-" if record[column] is None else f"{record[column]:.2f}")
        assert shown["gain"] == ("-" if record["gain"] is None else f"{100 * record['gain']:+.1f}")
        assert shown["p (Holm)"] == ("-" if record["p_holm"] is None else f"{record['p_holm']:.2g}")


def test_the_table_is_the_known_one():
    assert table(records_of(*CELLS)) == [
        ["a", "low_confidence", "1/step", "33.3 [14, 61]", "2.00 ±0.00", "0.50 ±0.00", "0.75 ±0.00", "1.00 ±0.00",
         "0.46 ±0.16", "-", "-", "67"],
        ["a", "parallel_forced", "1/step", "91.7 [65, 99]", "2.00 ±0.00", "0.50 ±0.00", "0.75 ±0.00", "3.00 ±0.00",
         "-", "+58.3", "0.039", "183"],
        ["a", "threshold", "own", "33.3 [14, 61]", *["-"] * 8],
    ]  # fmt: skip


# Sentences


def sentences(*cells, **options):
    return findings(records_of(*cells, **options))


LONG = cell("runs/long", "low_confidence", "4/step", BASE, **{"global_arness@1": 0.9, "global_arness@1_random": 0.1})
PATHS = {"path_global_arness@1": 0.4, "path_global_arness@1_random": 0.2, "global_arness@1": 0.05, "tpf": 4.0}


def test_a_gain_that_stands_is_called_significant_with_its_order_and_the_best():
    assert sentences(LONG, cell("runs/nap", "parallel_forced", "4/step", BETTER, **PATHS)) == [
        "At 4 tokens a step, nap under parallel_forced solves 91.7 % [65, 99] and long under low_confidence 33.3 % "
        "[14, 61] of the same 12 problems: +58.3 points, which is significant (exact McNemar p = 0.039).",
        "Global-ARness@1 there is 0.05 ±0.00 against 0.90 ±0.00 (a random order: - and 0.10 ±0.00); within a path "
        "0.40 ±0.00 against 0.75 ±0.00 (random: 0.20 ±0.00 and -).",
        "The best accuracy is 91.7 % [65, 99], by nap under parallel_forced at 4 tokens a step; of all with at least "
        "95 % of it, nap under parallel_forced at 4 tokens a step commits the most tokens a forward: 4.0.",
    ]


def test_of_settings_that_are_equally_fast_the_more_accurate_one_is_named():
    cells = [cell("runs/long", "random", "4/step", BETTER, tpf=2.0000001)]
    cells += [cell("runs/long", "parallel_forced", "4/step", "1" * 12, tpf=2.0)]
    assert sentences(*cells)[-1].endswith(
        "long under parallel_forced at 4 tokens a step commits the most tokens a forward: 2.0."
    )


def test_a_gain_that_its_correction_takes_away_is_called_not_significant():
    first, *_ = sentences(
        LONG, cell("runs/nap", "parallel_forced", "4/step", BETTER), cell("runs/nap", "ar", "4/step", SAME)
    )
    assert first.endswith(
        ": +58.3 points, which is not significant (exact McNemar p = 0.039, 0.078 after Holm's correction for 2 "
        "comparisons)."
    )


def test_a_loss_is_called_a_loss():
    first, *_ = sentences(LONG, cell("runs/nap", "parallel_forced", "4/step", WORSE))
    assert "nap under parallel_forced solves 0.0 % [0, 24] and long" in first
    assert first.endswith("-33.3 points, which is not significant (exact McNemar p = 0.12).")


def test_equal_accuracies_are_no_difference():
    first, *_ = sentences(LONG, cell("runs/nap", "parallel_forced", "4/step", SAME))
    assert first.endswith("of the same 12 problems: no difference (exact McNemar p = 1).")


def test_the_largest_of_several_differences_is_named_as_such():
    first, *_ = sentences(
        LONG,
        cell("runs/long", "low_confidence", "8/step", WORSE),
        cell("runs/nap", "parallel_forced", "4/step", SAME),
        cell("runs/nap", "parallel_forced", "8/step", SAME),
    )
    assert first.startswith("At 8 tokens a step, nap under parallel_forced solves 33.3 % [14, 61] and long")
    assert first.endswith("2 comparisons) (the largest of 2 differences).")


@pytest.mark.parametrize(
    ("cells", "who"),
    [
        (
            [("long", "ar"), ("long", "parallel_forced"), ("nap", "ar"), ("nap", "parallel_forced")],
            "nap under parallel",
        ),
        ([("long", "parallel_forced"), ("nap", "ar")], "long under parallel_forced solves 91.7 % [65, 99] and long"),
        ([("nap", "ar")], "nap under ar"),
        ([("long", "ar")], "long under ar solves 91.7 % [65, 99] and long under low_confidence"),
    ],
)
def test_the_sentence_is_about_forced_paths_against_another_model_if_there_are_any(cells, who):
    first, *_ = sentences(LONG, *(cell(f"runs/{model}", policy, "4/step", BETTER) for model, policy in cells))
    assert first.startswith(f"At 4 tokens a step, {who}")


def test_where_nothing_can_be_compared_only_the_best_is_named_and_ties_are_said():
    assert sentences(cell("m", "ar", "1/step", BASE)) == []
    assert sentences(cell("m", "ar", "1/step", BASE), cell("m", "threshold", "own", BASE, tpf=None)) == [
        "The best accuracy is 33.3 % [14, 61], by m under ar at 1 token a step (and 1 other); of all with at least "
        "95 % of it, m under ar at 1 token a step commits the most tokens a forward: 2.0."
    ]
    assert sentences(cell("m", "ar", "8 steps", BASE, tpf=None), cell("m", "threshold", "own", WORSE, tpf=None)) == [
        "The best accuracy is 33.3 % [14, 61], by m under ar in 8 steps."
    ]


def test_where_nothing_is_solved_nothing_is_claimed():
    assert sentences(cell("m", "low_confidence", "1/step", WORSE), cell("m", "parallel_forced", "1/step", WORSE)) == [
        "No setting solves a single problem, so accuracies say nothing here; only the order metrics do."
    ]


# Names

HOSTILE = "dir/[bold red]x|y\\|z\n\x1b[2J`<b>"


def test_a_models_name_is_the_last_part_of_its_folder_unless_two_would_be_one():
    for name, short in {"org/model": "model", "/a/b/": "b", "arith-nap": "arith-nap", "": ""}.items():
        assert shown_names([name]) == {name: short}
    names = ["a/same", "b/same", "c/other"]
    records = summary(*(cell(name, "ar", "1/step", BASE) for name in names)).values()
    assert [record["label"] for record in records] == ["a/same", "b/same", "other"]


def test_names_that_differ_only_where_they_are_cut_are_numbered():
    first, second = (f"{'m' * 60}{end}" for end in "ab")
    names = shown_names([first, second])
    assert names[second] == f"{names[first]} (2)"


def test_a_hostile_name_stays_in_its_cell(tmp_path, capsys):
    records = records_of(cell(HOSTILE, "low_confidence", "1/step", BASE), cell(HOSTILE, "ar", "1/step", BETTER))
    lines = markdown(records).splitlines()
    assert len(lines) == 2 + len(records)
    assert lines[2].startswith(r"| [bold red]x\|y\\\|z\\n\\x1b[2J\`\<b> | low_confidence | ")
    (first, _) = csv.DictReader(io.StringIO(as_csv(records)))
    assert first["model"] == HOSTILE and first["accuracy"] == str(4 / 12)
    print_summary(records, findings(records))
    out = capsys.readouterr().out
    assert out.count("[bold red]x|y\\|z\\n\\x1b[2J`<b>") == 2 + 4 and "\x1b" not in out
    assert all(c.isprintable() or c == "\n" for c in out)
