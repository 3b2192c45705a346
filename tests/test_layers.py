"""The import order of DESIGN.md: a file imports only what stands above it in this list."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src/nap"

ORDER = [
    "__init__", "files", "objective", "folder", "schema", "canvas", "mathworker", "verify", "stats", "segments",
    "seqdep", "engine", "tasks", "score", "order", "importers", "metrics", "families", "machine", "checkpoint", "grow",
    "adapter", "scorer", "denoiser", "policies", "decode", "journal", "teacher", "prompts", "selection", "card", "plan",
    "embed", "choose", "curate", "loss", "corpus", "batches", "optim", "train", "evaluate", "modelcard", "callbacks",
    "finetune", "view", "summary", "runs", "gallery", "figures", "report", "commands", "cli", "__main__",
]  # fmt: skip


def layer_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "nap":
            # `from nap import checkpoint` names a module, `from nap import __version__` the package itself.
            found |= {alias.name if alias.name in ORDER else "__init__" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("nap."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("nap.")}
    return found


FILES = sorted(path for path in SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_only_from_above(path: Path) -> None:
    own = layer_of(path)
    assert own in ORDER, f"{path.name} has no place in the order of layers: add it to ORDER and to docs/contracts.md"
    below = {name for name in imports_of(path) - {own} if ORDER.index(name) >= ORDER.index(own)}
    assert not below, f"{own} imports {sorted(below)}, which stand below it"


def test_every_layer_exists() -> None:
    assert {layer_of(path) for path in FILES} == set(ORDER)
