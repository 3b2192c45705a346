"""The house of docs/contracts.md: which folder imports which. An arrow that is not drawn here fails."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src/nap"

# Each folder, and those that it may import beside itself, `common` and `data`. A folder stands above what it imports.
ARROWS: dict[str, set[str]] = {
    "common": set(),
    "data": set(),
    "tasks": set(),
    "order": set(),
    "canvas": set(),
    "models": {"canvas", "tasks"},
    "decoding": {"models", "canvas"},
    "dependence": {"models", "canvas", "tasks"},
    "curation": {"tasks", "canvas", "models"},
    "training": {"decoding", "models", "canvas", "tasks", "order"},
    "serving": {"decoding", "models", "canvas"},
    "evaluation": {"decoding", "models", "canvas", "tasks", "order"},
    "report": {"evaluation", "order"},
}
EVERYWHERE = {"common", "data", ""}
# The face of the package, which may import everything.
FACE = {"commands", "cli", "__main__", "__init__", "face"}


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """The rooms that a file imports; "" for the package itself (`from nap import __version__`)."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "nap":
            found |= {alias.name if (SOURCE / alias.name).is_dir() else "" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("nap."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("nap.")}
    return found


FILES = sorted(path for path in SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_import_is_an_arrow_that_is_drawn(path: Path) -> None:
    own = room_of(path)
    if own in FACE:
        return
    assert own in ARROWS, f"{own} is not a room of the house: draw it in ARROWS and in docs/contracts.md"
    known = EVERYWHERE if own != "common" else {""}
    strangers = imports_of(path) - {own} - ARROWS[own] - (known if own != "data" else {"common", ""})
    assert not strangers, f"{own} imports {sorted(strangers)}: no such arrow is drawn"


def test_every_room_exists_and_says_what_lives_there() -> None:
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name not in {"assets", "__pycache__"}}
    assert rooms == {*ARROWS, "commands", "face"}
    for room in rooms:
        tree = ast.parse((SOURCE / room / "__init__.py").read_text())
        assert ast.get_docstring(tree), f"{room}/__init__.py does not say what lives there"
        assert len(tree.body) == 1, f"{room}/__init__.py re-exports something"


def test_the_arrows_point_downwards() -> None:
    below: list[str] = []
    left = dict(ARROWS)
    while left:
        ready = [room for room, wanted in left.items() if wanted <= {*below}]
        assert ready, f"these rooms import each other in a circle: {sorted(left)}"
        below += ready
        for room in ready:
            del left[room]


def test_no_two_test_files_have_one_name() -> None:
    """pytest collects files by their names alone, and stops at the second of one name."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(names) == sorted({*names})
