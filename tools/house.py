"""Measures the code base: folders, files, functions, lines, imports between folders, and missing types.

    python tools/house.py                                    # of src/nap
    git archive COMMIT src | tar x -C /tmp/then && python tools/house.py /tmp/then/src/nap

Prints one line a measure; docs/contracts.md has them. Imports nothing of the package.
"""

import ast
import re
import sys
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent.parent / "src/nap"
Function = ast.FunctionDef | ast.AsyncFunctionDef


def measures(source: Path) -> dict[str, str]:
    """Each measure by its name."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(source.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    modules = [path for path in texts if path.name != "__init__.py"]
    lengths = sorted((node.end_lineno or 0) - node.lineno + 1 for node in nodes if isinstance(node, Function))
    lines = {path: text.count("\n") for path, text in texts.items()}
    middle, bare = median(lines[path] for path in modules), sum(map(code_lines, texts.values()))
    largest = max(modules, key=lines.__getitem__)
    arrows = {arrow for path in modules for arrow in arrows_of(source, path, texts[path])}
    return {
        "folders": str(len({path.parent for path in modules} - {source})),
        "files": f"{len(modules)}, and {len(texts) - len(modules)} __init__.py",
        "file": f"median {middle:.0f} lines, largest {lines[largest]} ({largest.name})",
        "function": f"median {median(lengths):.0f} lines, 90th percentile {lengths[len(lengths) * 9 // 10]}",
        "arrows": f"{len(arrows)}, {sum(to in ('common', 'data') for _, to in arrows)} of them to common and data",
        "lines": f"{sum(lines.values())}, {bare} without docstrings, comments and blanks",
        "Any": str(sum(isinstance(node, ast.Name) and node.id == "Any" for node in nodes)),
    }


def arrows_of(source: Path, path: Path, text: str) -> set[tuple[str, str]]:
    """(room, room that it imports) of a file."""
    own = path.relative_to(source).parts[0].removesuffix(".py")
    return {(own, to) for to in re.findall(r"(?:from|import) nap\.(\w+)", text) if to != own}


def code_lines(text: str) -> int:
    """Lines that are neither blank nor comments nor docstrings, those of fields included."""
    said: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        for part in node.body if isinstance(node, ast.Module | ast.ClassDef | Function) else ():
            if (
                isinstance(part, ast.Expr)
                and isinstance(part.value, ast.Constant)
                and isinstance(part.value.value, str)
            ):
                said.update(range(part.lineno, (part.end_lineno or 0) + 1))
    lines = enumerate(map(str.strip, text.split("\n")), 1)
    return sum(bool(line) and not line.startswith("#") and number not in said for number, line in lines)


if __name__ == "__main__":
    for name, value in measures(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE).items():
        print(f"{name:10s}{value}")
