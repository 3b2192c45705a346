"""examples/quickstart.ipynb runs from its first cell to its last, and is committed with what it shows."""

import json
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT

NOTEBOOK = ROOT / "examples/quickstart.ipynb"
# Run anew, with its outputs: jupyter execute --inplace examples/quickstart.ipynb


def _text(output: dict[str, Any]) -> str:
    """What an output says in words."""
    said = output.get("text") or output.get("data", {}).get("text/plain", "")
    return said if isinstance(said, str) else "".join(said)


@pytest.mark.filterwarnings("default")  # what the kernel's own packages warn of
def test_the_notebook_runs_and_shows_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("problems=20", "problems=2")
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = "".join(_text(output) for cell in notebook.cells for output in cell.get("outputs", []))
    assert "summary │" in said and "ARness" in said and (tmp_path / "report.html").exists()


def test_the_notebook_is_committed_with_its_outputs_and_without_anybodys_folders() -> None:
    text = NOTEBOOK.read_text()
    code = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    kinds = {kind for cell in code for output in cell["outputs"] for kind in output.get("data", {})}
    assert {"text/html", "image/png"} <= kinds and not any(
        o["output_type"] == "error" for c in code for o in c["outputs"]
    )
    assert (
        not any(folder in text for folder in ("/home/", "/root/", "/tmp/", "/work/", "/Users/"))
        and len(text) < 2_000_000
    )
