"""A real teacher end to end: SmolLM2-135M behind xllamacpp, started, asked about 8 problems, and stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("aiohttp")
pytest.importorskip("xllamacpp", reason="no server of GGUF files: pip install xllamacpp")

from nap.common.templates import load_prompt
from nap.curation.journal import Journal
from nap.curation.plan import Plan
from nap.tasks.public import Gsm8k

ROOT = Path(__file__).parents[2]
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def gguf() -> str:
    """The model: NAP_MODELS, else ../models (tools/get_models.sh smollm2 DIR fetches it)."""
    path = Path(os.environ.get("NAP_MODELS", ROOT.parent / "models")) / NAME
    if not path.exists():
        pytest.skip(f"no {path}; set NAP_MODELS to the folder of {NAME}")
    return str(path)


def test_a_real_teacher_is_started_asked_and_stopped(gguf: str, nap_data: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "recipes/curate_gsm8k.py"), gguf, "--name", "smollm2", "--problems", "8"]
    command += ["--data", str(nap_data / "gsm8k/train.jsonl"), "--max-tokens", "96", "--out", str(tmp_path / "run")]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=1800).stdout
    card = json.loads((tmp_path / "run/card.json").read_text())
    assert "24 of 24" in said
    assert card["models"] == {"smollm2": 24} and card["replies"]["failed"] == 0
    assert card["usage"]["completion_tokens"] > 24
    with Journal(tmp_path / "run/journal.sqlite") as journal:
        [asked] = Gsm8k().load("train", 1, str(nap_data / "gsm8k/train.jsonl"))
        plan = Plan(task="gsm8k", models=("smollm2",), max_tokens=96)
        replies = [journal.get(request) for request in plan.requests(asked, [load_prompt("boxed")])]
    assert len({reply.text for reply in replies if reply}) == 3, "three samples of a problem should differ"
    # The server has stopped with the recipe, and nothing is left to ask it.
    (tmp_path / "run/card.json").unlink()
    offline = [sys.executable, "-c", "import sys; sys.argv[0] = 'nap'; from nap.cli import main; main()", "curate"]
    offline += ["--task", "gsm8k", "--data", str(nap_data / "gsm8k/train.jsonl"), "--problems", "8", "--offline"]
    offline += ["--teacher", "http://127.0.0.1:9/v1", "--model", "smollm2", "--max-tokens", "96"]
    offline += ["--journal", str(tmp_path / "run/journal.sqlite"), "--out", str(tmp_path / "again")]
    subprocess.run(offline, check=True, capture_output=True, timeout=600)
    again = (tmp_path / "again/samples.parquet").read_bytes()
    assert again == (tmp_path / "run/samples.parquet").read_bytes()
