"""Figures for a paper: SVG and PDF of what the runs hold, the same bytes every time, and nothing of a run is markup."""

import xml.etree.ElementTree as ElementTree

import pytest

from nap.common.files import InputError
from nap.report.figures import write_figures
from nap.report.runs import read_run
from samples import chain, row, small_rows, small_traces, write_run

pytest.importorskip("matplotlib", reason="matplotlib is not installed: no figures")


def test_a_run_gives_every_figure_as_svg_and_pdf(tmp_path):
    run = read_run(write_run(tmp_path / "run", small_rows(), small_traces()))
    files = write_figures([run], tmp_path / "figures")
    names = ("accuracy", "arness", "paths", "critical-path", "maps")
    assert {file.name for file in files} == {f"arith-{name}.{kind}" for name in names for kind in ("svg", "pdf")}
    for file in files:
        if file.suffix == ".svg":
            assert ElementTree.parse(file).getroot().tag.endswith("svg")
        else:
            assert file.read_bytes().startswith(b"%PDF-")


def test_the_same_runs_give_the_same_bytes(tmp_path):
    run = read_run(write_run(tmp_path / "run", small_rows(), []))
    first, second = (write_figures([run], tmp_path / name) for name in "ab")
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


def test_names_are_text_and_stay_in_their_folder(tmp_path):
    """`$` would be mathematics to matplotlib, and a task name no part of a path."""
    rows = [row("$\\frac{", "</svg><script>", "1/step", "p", True, task="../../x")]
    run = read_run(write_run(tmp_path / "run", rows, [], {"task": "../../x"}))
    files = write_figures([run], tmp_path / "figures")
    assert files and {file.parent for file in files} == {tmp_path / "figures"}
    assert "<script" not in "".join(file.read_text() for file in files if file.suffix == ".svg")


def test_a_run_without_numbers_is_refused(tmp_path):
    with pytest.raises(InputError, match="no numbers to draw"):
        write_figures([read_run(write_run(tmp_path / "run", [row("m", "ar", "own", "p", True)][:0], []))], tmp_path)


def test_traces_alone_give_the_map(tmp_path):
    run = read_run(write_run(tmp_path / "run", [], [chain()]))
    assert [file.name for file in write_figures([run], tmp_path)] == ["arith-maps.svg", "arith-maps.pdf"]
