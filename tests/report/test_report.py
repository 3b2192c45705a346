"""A report is one page that holds what the runs say, lets nothing out of its data, and says what is missing."""

import base64
import hashlib
import html.parser
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nap.cli import main
from nap.common.files import InputError
from nap.data.cells import cell_of
from nap.data.trace import COMMIT, Cost, Trace
from nap.data.trace_files import trace_to_row, write_traces
from nap.order.arness import global_arness, random_baseline
from nap.order.order import order_of
from nap.order.rates import afp, kendall_tau_b, tpf
from nap.report.gallery import MOST_TEXT, Vocabulary, choose, pack
from nap.report.page import payload, write_report
from nap.report.runs import Recorded, Run, read_run
from samples import (
    HOSTILE,
    WORDS,
    chain,
    lanes,
    row,
    shuffled,
    small_rows,
    small_traces,
    trace_of,
    write_journal,
    write_run,
)

PAGE_TESTS = sorted((Path(__file__).parent / "page").glob("*.mjs"))


@pytest.fixture
def run_folder(tmp_path):
    return write_run(tmp_path / "run", small_rows(), small_traces())


class Document(html.parser.HTMLParser):
    """The elements of a page as a browser would see them."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.inside = [], {}, ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.inside = dict(attrs).get("id") or tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        self.texts[self.inside] = self.texts.get(self.inside, "") + data

    @property
    def data(self):
        return json.loads(self.texts["data"])


def page_of(*sources, out):
    write_report(sources, out)
    return Document(Path(out).read_text(encoding="utf-8"))


# The page


def test_a_report_of_a_run_has_its_records_its_traces_and_how_to_rerun_it(run_folder, tmp_path):
    data = page_of(run_folder, out=tmp_path / "r.html").data
    (run,) = data["runs"]
    assert len(run["records"]) == 8 and {r["label"] for r in run["records"]} == {"longcot", "nap"}
    assert run["records"][0]["accuracy_interval"] == pytest.approx([0.0968, 0.7], abs=1e-4)
    assert run["command"].startswith("nap eval --task arith --models longcot nap --policies ar --problems 6")
    assert run["findings"] and run["task"] == "arith"
    assert [d["critical_path"] for d in run["depths"][:3]] == [1, 2, 3]
    assert len(data["traces"]) == data["kept"] == 16


def test_the_policy_of_the_page_allows_its_own_script_and_style_and_nothing_else(run_folder, tmp_path):
    document = page_of(run_folder, out=tmp_path / "r.html")
    policy = next(a["content"] for t, a in document.elements if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for name in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(document.texts[name].encode()).digest()).decode()
        assert rules[f"{name}-src"] == f"'sha256-{digest}'"


def test_nothing_in_the_page_refers_to_anything_outside_it(run_folder, tmp_path):
    document = page_of(run_folder, out=tmp_path / "r.html")
    tags = [tag for tag, _ in document.elements]
    assert not {"link", "img", "iframe", "object", "embed", "base"} & set(tags) and tags.count("script") == 2
    attributes = [(name, value) for _, given in document.elements for name, value in given.items()]
    assert not [name for name, _ in attributes if name.startswith("on") or name in ("src", "style")]
    assert [value for name, value in attributes if name == "href"] == ["#replay"]
    script = document.texts["script"]
    assert not re.search(r"innerHTML =|outerHTML|insertAdjacent|document\.write|\beval\(|new Function|fetch\(", script)
    assert set(re.findall(r"https?://[^\"'` ]*", script)) == {"http://www.w3.org/2000/svg"}


def test_hostile_texts_and_names_stay_data(tmp_path):
    trace = lanes(problem_id=HOSTILE, vocabulary=WORDS | {3: HOSTILE}, answer=HOSTILE)
    rows = [row(HOSTILE, HOSTILE, "1/step", HOSTILE, True)]
    run = write_run(tmp_path / "<img src=x>&\"'", rows, [trace], {"data": HOSTILE})
    plain = page_of(write_run(tmp_path / "plain", small_rows(), small_traces()), out=tmp_path / "plain.html")
    document = page_of(run, out=tmp_path / "r.html")
    assert document.elements == plain.elements
    assert HOSTILE in document.data["vocabulary"] and document.data["traces"][0]["problem"] == HOSTILE


def test_the_same_runs_give_the_same_bytes(run_folder, tmp_path):
    for name in ("a.html", "b.html"):
        write_report([run_folder], tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_report_that_cannot_be_made_leaves_the_old_one(run_folder, tmp_path):
    (tmp_path / "r.html").write_text("old")
    with pytest.raises(InputError, match="holds no run"):
        write_report([run_folder, tmp_path], tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text() == "old"


def explanations(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def why(trace: Trace, violation: float = 1.5) -> dict[str, Any]:
    """A line of `nap trace explain --out` about the first step of a trace of three paths."""
    positions = [event.position for event in trace.events if event.step == 0]
    step = {"step": 0, "positions": positions, "violation": [0, 0, violation], "exact": True}
    step |= {"correlation": 0.25, "error": 0.0}
    return {"cell": cell_of(trace).name, "problem_id": trace.problem_id, "correct": True, "steps": [step]}


def test_what_explains_a_trace_is_in_the_page_beside_that_trace_alone(tmp_path):
    traces = [lanes(problem_id="p0"), lanes(problem_id="p1")]
    write_traces(traces, tmp_path / "t.jsonl")
    write_report([tmp_path / "t.jsonl"], tmp_path / "r.html", [explanations(tmp_path / "why.jsonl", why(traces[1]))])
    shown = {one["problem"]: one["explained"] for one in Document((tmp_path / "r.html").read_text()).data["traces"]}
    assert shown == {"p0": None, "p1": [[0, 0.25, 0.0, [0.0, 0.0, 1.5]]]}


@pytest.mark.parametrize("other", [{"problem_id": "p9"}, {"cell": "other | ar | 1/step"}, "positions"])
def test_explanations_of_other_traces_are_refused(tmp_path, other):
    trace = lanes()
    line = why(trace)
    line |= {"steps": [line["steps"][0] | {"positions": [4, 5, 6]}]} if other == "positions" else other
    write_traces([trace], tmp_path / "t.jsonl")
    with pytest.raises(InputError, match=r"why\.jsonl explains no trace of these runs"):
        write_report([tmp_path / "t.jsonl"], tmp_path / "r.html", [explanations(tmp_path / "why.jsonl", line)])


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed: the page's arithmetic is not tested")
def test_the_page_counts_as_nap_does(tmp_path):
    traces = [chain(), lanes(), trace_of([]), *map(shuffled, range(30))]
    data: Any = payload([Run(name="r", traces=[recorded(trace, "ar", str(i)) for i, trace in enumerate(traces)])])
    packed = {(p["problem"], p["policy"], p["pace"]): p for p in data["traces"]}
    cases = []
    for i, trace in enumerate(traces):
        order = order_of(trace)
        if (found := packed.get((trace.problem_id, "ar", str(i)))) and len(order):
            cases.append({"packed": found, "expected": measured(order)})
    (tmp_path / "orders.json").write_text(json.dumps(cases))
    process = subprocess.run(
        ["node", "--test", *map(str, PAGE_TESTS)],
        env=os.environ | {"NAP_ORDERS": str(tmp_path / "orders.json")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stdout[-4000:]
    assert "# skipped 0" in process.stdout and "# fail 0" in process.stdout


def measured(order):
    paths = [global_arness(order.where(order.region == code)) for code in range(order.paths)]
    known = [value for value in paths if value is not None]
    return {
        "arness": global_arness(order),
        "random": random_baseline(len(order)),
        "pathArness": sum(known) / len(known) if known else None,
        "tau": kendall_tau_b(order).tau_b,
        "afp": afp(order),
        "tpf": tpf(order),
        "count": len(order),
    }


# The gallery


def recorded(trace, policy="ar", pace="1/step"):
    return Recorded(trace=trace, model="toy", policy=policy, pace=pace)


def test_the_gallery_has_the_most_and_least_parallel_and_a_right_and_a_wrong_one_of_every_setting():
    serial = [recorded(chain(problem_id=f"c{i}", correct=i == 7)) for i in range(40)]
    parallel = [recorded(lanes(problem_id=f"l{i}", correct=False)) for i in range(2)]
    other = [recorded(lanes(problem_id=f"l{i}", correct=True), "random") for i in range(30)]
    choices = choose([*serial, *parallel, *other])
    found = {}
    for choice in choices:
        for why in choice.why:
            found.setdefault((choice.one.policy, why), []).append(choice.one)
    (most,), (least,) = found["ar", "most parallel"], found["ar", "least parallel"]
    assert most.trace.problem_id == "l0" and least.trace.problem_id == "c0"
    (right,), (wrong,) = found["ar", "right"], found["ar", "wrong"]
    assert right.trace.problem_id == "c7" and wrong.trace.correct is False
    assert ("random", "right") in found and ("random", "wrong") not in found
    assert len({choice.one.trace.problem_id for choice in choices if "random" in choice.why}) == 4
    assert choose([*serial, *parallel, *other]) == choices


# Several models and runs


def run_of_one(folder: Path, model: str, policy: str = "ar", weights: str | None = None) -> Path:
    """A run of one model, with a trace of it."""
    setting = {"model": {"model": model}, "policy": policy}
    made_of = {"models": {model: {"weights": weights}}}
    rows = [row(model, policy, "own", f"p{i}", True) for i in range(3)]
    return write_run(folder, rows, [chain(setting=setting)], {"made_of": made_of})


def shown_by(*sources: Path, out: Path) -> list[set[str]]:
    """For each run the names that its records, its maps and its traces are shown under: one set, if they agree."""
    data = page_of(*sources, out=out).data
    found = []
    for number, run in enumerate(data["runs"]):
        traces = [trace for trace in data["traces"] if trace["run"] == number]
        kinds = [{one["label"] for one in kind} for kind in (run["records"], run["heat"], traces)]
        assert kinds[0] == kinds[1] == kinds[2]
        found.append(kinds[0])
    return found


def test_two_models_whose_folders_end_alike_are_two_in_every_part_of_the_page(tmp_path):
    runs = [run_of_one(tmp_path / name, f"{name}/final") for name in "ab"]
    assert shown_by(*runs, out=tmp_path / "r.html") == [{"a/final"}, {"b/final"}]
    assert shown_by(runs[0], out=tmp_path / "r.html") == [{"final"}]


def test_a_model_of_two_runs_says_which_where_they_have_the_same_cell_or_other_weights(tmp_path):
    first, same, more, changed = (
        run_of_one(tmp_path / name, "m", policy, weights)
        for name, policy, weights in (("a", "ar", "1"), ("b", "ar", "1"), ("c", "margin", "1"), ("d", "margin", "2"))
    )
    out = tmp_path / "r.html"
    assert shown_by(first, same, out=out) == [{"m (a)"}, {"m (b)"}]
    assert shown_by(first, more, out=out) == [{"m"}, {"m"}]
    assert shown_by(first, changed, out=out) == [{"m (a)"}, {"m (d)"}]


def test_a_run_that_is_being_written_tells_its_models_apart_and_has_no_figure_of_several_cells(tmp_path):
    rows = [row(f"{name}/final", "ar", "own", f"p{i}", True) for name, of in (("a", 3), ("b", 2)) for i in range(of)]
    rows += [row("a/final", "low_confidence", "own", "p0", True)]
    data = page_of(write_journal(tmp_path / "run", rows, chain()), out=tmp_path / "r.html").data
    records = data["runs"][0]["records"]
    assert {record["label"] for record in records} == {"a/final", "b/final"}
    assert [record["aup"] for record in records] == [None] * 3


def test_a_folder_that_another_command_made_is_no_run(tmp_path):
    folder = write_run(tmp_path / "run", small_rows(), [], {"kind": "curate"})
    with pytest.raises(InputError, match="is a run of nap curate; give a folder made by nap eval"):
        read_run(folder)


def test_traces_of_two_tasks_are_two_cells(tmp_path):
    asked = {"model": {"model": "m"}, "policy": "ar"}
    traces = [chain(setting=asked | {"task": task}, correct=task == "arith") for task in ("arith", "agree")]
    write_traces(traces, tmp_path / "t.jsonl")
    records = page_of(tmp_path / "t.jsonl", out=tmp_path / "r.html").data["runs"][0]["records"]
    assert [(one["policy"], one["accuracy"]) for one in records] == [("ar (task arith)", 1), ("ar (task agree)", 0)]


# What is missing


def notes_of(*sources, tmp_path):
    data = page_of(*sources, out=tmp_path / "r.html").data
    return "\n".join([*data["notes"], *(note for run in data["runs"] for note in run["notes"])]), data


def test_an_empty_run_makes_a_page_that_says_so(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "setting.json").write_text("{}")
    notes, data = notes_of(folder, tmp_path=tmp_path)
    assert "no rows yet" in notes and data["traces"] == [] and data["runs"][0]["records"] == []


def test_a_folder_of_traces_alone_is_their_file(tmp_path):
    (tmp_path / "harness").mkdir()
    write_traces([chain()], tmp_path / "harness/traces.jsonl")
    notes, data = notes_of(tmp_path / "harness", tmp_path=tmp_path)
    assert len(data["traces"]) == 1 and not notes


def test_a_run_without_traces_says_how_to_keep_some(tmp_path):
    notes, _ = notes_of(write_run(tmp_path / "run", small_rows(), []), tmp_path=tmp_path)
    assert "nothing to replay" in notes and "--traces" in notes


def test_one_trace_of_a_bare_file_is_a_page(tmp_path):
    write_traces([chain()], tmp_path / "one.jsonl")
    notes, data = notes_of(tmp_path / "one.jsonl", tmp_path=tmp_path)
    assert len(data["traces"]) == 1 and data["runs"][0]["records"][0]["accuracy"] == 1
    assert not notes


def test_traces_without_probabilities_are_counted(tmp_path):
    nan = float("nan")
    write_traces([trace_of([(0, COMMIT, 4, 3, nan)]), chain()], tmp_path / "t.jsonl")
    notes, data = notes_of(tmp_path / "t.jsonl", tmp_path=tmp_path)
    assert "1 traces hold no probabilities" in notes
    assert [None] in [trace["probability"] for trace in data["traces"]]


def test_a_run_that_is_being_written_is_shown_as_far_as_it_is(tmp_path):
    folder = write_journal(tmp_path / "run", small_rows()[:9], chain(problem_id="p0"), tail='{"row": {"cell": "lon')
    notes, data = notes_of(folder, tmp_path=tmp_path)
    assert "still being written" in notes and "9 rows so far" in notes
    assert [r["problems"] for r in data["runs"][0]["records"]] == [6, 3] and len(data["traces"]) == 1


def test_damaged_rows_files_and_lines_are_left_out_and_named(tmp_path):
    folder = write_journal(tmp_path / "run", small_rows()[:6], chain())
    (folder / "rows.parquet").write_bytes(b"PAR1 cut")
    (folder / "setting.json").write_text("[")
    with (folder / "journal.jsonl").open("a") as file:
        file.write('nonsense\n{"row": {}, "trace": null}\n')
    notes, data = notes_of(folder, tmp_path=tmp_path)
    assert "rows.parquet is not a whole Parquet file" in notes and "setting.json cannot be read" in notes
    assert "1 lines of the journal cannot be read" in notes and "1 rows lack a column" in notes
    assert data["runs"][0]["records"][0]["problems"] == 6


def test_a_bad_trace_among_good_ones_is_left_out_with_its_reason(tmp_path):
    later = trace_to_row(chain()) | {"version": 99}
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(r) for r in (trace_to_row(chain()), later)))
    notes, data = notes_of(tmp_path / "t.jsonl", tmp_path=tmp_path)
    assert "1 traces of t.jsonl cannot be read" in notes and "line 2: trace version 99" in notes
    assert len(data["traces"]) == 1


def test_runs_of_different_versions_are_compared_with_a_warning(run_folder, tmp_path):
    other = write_run(tmp_path / "other", small_rows(), [], {"nap": "0.0.9"})
    assert "different versions of NAP (0.0.9, 0.1.0)" in notes_of(run_folder, other, tmp_path=tmp_path)[0]
    assert "made by NAP 0.0.9, this page by" in notes_of(other, tmp_path=tmp_path)[0]


def test_a_token_of_a_million_characters_is_cut_and_counted(tmp_path):
    write_traces([chain(vocabulary=WORDS | {3: "x" * 1_000_000})], tmp_path / "t.jsonl")
    notes, data = notes_of(tmp_path / "t.jsonl", tmp_path=tmp_path)
    assert "1 tokens are longer than" in notes
    assert max(map(len, data["vocabulary"])) == MOST_TEXT and (tmp_path / "r.html").stat().st_size < 500_000


def test_of_a_trace_with_huge_steps_those_are_numbered_in_which_something_changed(tmp_path):
    late = trace_of([(0, COMMIT, 4, 3), (7, COMMIT, 5, 3), (2**31 - 2, COMMIT, 6, 3)], seconds=(), forwards=3)
    write_traces([late, chain(length=5)], tmp_path / "t.jsonl")
    notes, data = notes_of(tmp_path / "t.jsonl", tmp_path=tmp_path)
    assert "1 traces have over 20,000 steps" in notes
    by_steps = {trace["steps"]: trace["step"] for trace in data["traces"]}
    assert by_steps == {3: [0, 1, 2], 5: [0, 1, 2, 3, 4]}


def test_steps_at_the_end_in_which_nothing_changed_count(tmp_path):
    write_traces([chain(length=5, forwards=7, costs=(Cost(1, 5),) * 7, seconds=(0.01,) * 7)], tmp_path / "t.jsonl")
    (trace,) = page_of(tmp_path / "t.jsonl", out=tmp_path / "r.html").data["traces"]
    assert trace["steps"] == len(trace["ms"]) == 7


def test_many_traces_are_sampled_and_the_page_says_so(tmp_path):
    write_traces([chain(problem_id=f"p{i}") for i in range(50)], tmp_path / "t.jsonl")
    notes, data = notes_of(tmp_path / "t.jsonl", tmp_path=tmp_path)
    assert 4 <= len(data["traces"]) < 10 and f"{len(data['traces'])} of the 50 traces" in notes
    assert data["runs"][0]["heat"][0]["traces"] == 50


def test_traces_that_do_not_fit_are_left_out_those_that_matter_least_first(monkeypatch):
    choices = choose([recorded(chain(length=90, problem_id=f"p{i}")) for i in range(9)])
    monkeypatch.setattr("nap.report.gallery.MOST_BYTES", 5000)
    kept = pack(choices, Vocabulary())
    assert 1 <= len(kept) < len(choices)
    assert [trace["problem"] for trace in kept] == [choice.one.trace.problem_id for choice in choices[: len(kept)]]
    assert len(pack(choose([recorded(chain(length=900))]), Vocabulary())) == 1


# The command


@pytest.fixture
def command(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["nap", "report", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call


def test_the_command_writes_the_page_and_says_where(command, run_folder, tmp_path):
    code, out, err = command(run_folder, "-o", tmp_path / "r.html")
    assert (code, out) == (0, "") and f"the report is {tmp_path / 'r.html'}" in err
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere is no run"),
        (["."], "holds no run"),
        (["nowhere.jsonl"], "no such file"),
        ([".", "-o", "report.pdf"], "must end in .html"),
        ([], "there is no run"),
    ],
    ids=str,
)
def test_what_is_no_run_is_one_clear_line(command, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    code, out, err = command(*arguments)
    assert code == 2 and not out and err.count("\n") == 1 and said in err
    assert not list(tmp_path.iterdir())


def test_a_run_of_a_sweep_is_read_whole(run_folder):
    run = read_run(run_folder)
    assert [one.cell for one in run.traces[:3]] == [
        "longcot | low_confidence | 1/step", "longcot | low_confidence | 1/step", "longcot | low_confidence | 4/step",
    ]  # fmt: skip
    assert not run.notes
