"""From a file of solutions to a decoded answer by nothing but the commands that each step prints, and its card's."""

import json
import shlex
from pathlib import Path

import pytest

from scorers import save_causal
from tiny import nap, save_tiny

SOLUTIONS = [
    {
        "question": f"Ann has {n} pears . Bob has 3 more than Ann . How many has Bob ?",
        "answer": str(n + 3),
        "generations": [f"Bob has {n} + 3 = {n + 3} .", f"Ann has {n} . Bob has 3 + {n} = {n + 3} ."],
    }
    for n in range(2, 8)
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with solutions, a model to train and a scorer."""
    folder = tmp_path_factory.mktemp("chain")
    save_tiny(folder / "model", max_position_embeddings=160)
    save_causal(folder / "scorer")
    (folder / "solutions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in SOLUTIONS))
    (folder / "summary.txt").write_text("{answer}")
    return folder


def commanded(place: Path, line: str, *more: str, **names: str) -> str:
    """Run a command as it was printed, placeholders in capitals replaced; what it says on both streams."""
    words = [names.get(word, word) for word in shlex.split(line)]
    assert words[0] == "nap"
    done = nap(*words[1:], *more, cwd=place)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_each_step_prints_the_command_of_the_next_and_the_card_of_the_model_decodes_word_for_word(place: Path) -> None:
    said = commanded(
        place,
        "nap curate --task gsm8k --solutions solutions.jsonl --paths 2 --path-tokens 30 --summary-tokens 6 "
        "--summary-prompt summary.txt --out 'runs/my data' --tokenizer model --max-overlap 1",
    )
    measure, train = (line.strip() for line in said.splitlines() if line.startswith("  nap "))
    said = commanded(place, measure, SCORER="scorer")
    assert "6 texts of 6 prompts" in said
    assert said.splitlines()[-2:] == ["next:", "  " + train.replace("--model model", "--model MODEL")]
    said = commanded(
        place, "nap seqdep filter 'runs/my data/samples.parquet' --scorer scorer --keep 0.9 --out k.parquet"
    )
    kept = said.splitlines()[-1].strip()
    assert " --data k.parquet " in kept
    commanded(place, kept, "--steps", "1", "--batch-size", "2", "--rows", "2", "--out", "runs/kept", MODEL="model")
    said = commanded(place, train, "--steps", "1", "--batch-size", "2", "--rows", "2")
    decode = said.split("; next: ")[1].splitlines()[0]
    assert "summary: " in commanded(place, decode)
    card = (place / "runs/train/final/README.md").read_text()
    command = card.split("```sh\n")[1].split("\n```")[0]
    assert command == decode and "summary: " in commanded(place, command)
