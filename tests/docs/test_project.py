"""Issue forms, hooks and the site's pages: what they name is there."""

import re
from pathlib import Path

import pytest
import yaml
from pages import ROOT

TEMPLATES = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))


@pytest.mark.parametrize("path", [path for path in TEMPLATES if path.name != "config.yml"], ids=lambda path: path.name)
def test_an_issue_form_has_what_github_asks_of_one(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    assert form["name"] and form["description"]
    asked = form["body"]
    assert len({part["id"] for part in asked}) == len(asked) and all(part["attributes"]["label"] for part in asked)
    assert {part["type"] for part in asked} <= {"input", "textarea", "checkboxes", "dropdown", "markdown"}


def test_hooks_are_local_and_run_what_make_check_runs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]
    entries = [hook["entry"].replace(".venv/bin/", "") for hook in hooks[0]["hooks"]]
    make = (ROOT / "Makefile").read_text().replace("$(BIN)/", "")
    assert all(" ".join(entry.split()[:2]) in make for entry in entries if entry.startswith(("ruff", "pyright")))


def test_every_page_is_on_the_site() -> None:
    listed = re.findall(r"^(?:[^<\n]+ <)?([a-z_][\w/-]*)>?$", (ROOT / "docs/index.md").read_text(), re.M)
    pages = {str(path.relative_to(ROOT / "docs"))[:-3] for path in (ROOT / "docs").rglob("*.md")} - {"index"}
    assert sorted(listed) == sorted(pages)


def test_every_link_between_pages_leads_to_a_file() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            assert link.startswith(("http", "<")) or (page.parent / link).exists(), f"{page.name} links to {link}"


def test_every_file_of_the_code_that_a_page_names_is_there() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")]:
        named = re.findall(r"(?<![\w/.])(?:tests|recipes|src/nap|benchmarks)/[\w/]+\.(?:py|mjs)", page.read_text())
        assert not [name for name in named if not (ROOT / name).exists()], page.name
