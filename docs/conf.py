"""The documentation as a site: `make docs` builds it with Sphinx, MyST and furo from the Markdown that GitHub shows.

Warnings are errors, and nothing is fetched. tests/docs runs the blocks of the pages, tools/reference.py makes the
reference from the code; this file does neither.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

project = html_title = "NAP"
author = "the authors of NAP"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
root_doc = "index"
html_theme = "furo"
html_show_sphinx = False
highlight_language = "text"
myst_heading_anchors = 3
autodoc_typehints = "signature"
autodoc_member_order = "bysource"

# Pages of the checkout that stand outside of this folder, by what they are called on the site.
OUTSIDE = {
    "README.md": "index.md", "CONTRIBUTING.md": "project/contributing.md", "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/security.md",
}  # fmt: skip


def linked(app: object, name: str, source: list[str]) -> None:
    """Links that leave the folder lead to the site's own copies; those to a file of the code become its name."""
    for page, here in OUTSIDE.items():
        source[0] = re.sub(rf"\]\((?:\.\./)+{re.escape(page)}", f"](/{here}", source[0])
    source[0] = re.sub(r"\[([^\]]+)\]\((?:\.\./)+(?:src|tests|recipes|examples)/[^)]*\)", r"`\1`", source[0])


def tabled(app: object, kind: str, name: str, made: object, options: object, lines: list[str]) -> None:
    """Names with their explanations, which docstrings have in columns, stay as they are; `code` is code."""
    text, inside = [], False
    for line in lines:
        row = bool(re.match(r"\w+(?:, \w+)*  +\S", line)) or (inside and line.startswith("    "))
        text += ["", "::", ""] if row and not inside else [""] if inside and not row else []
        code = row or line.startswith((">>>", "..."))
        text.append(f"    {line}" if row else line if code else re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line))
        inside = row
    lines[:] = text


def setup(app: object) -> None:
    """Sphinx calls this."""
    app.connect("source-read", linked)  # pyright: ignore[reportAttributeAccessIssue]
    app.connect("autodoc-process-docstring", tabled)  # pyright: ignore[reportAttributeAccessIssue]
