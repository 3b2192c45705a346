"""The house is measured as it says: lines of code without what is told beside it, functions, arrows, types not said."""

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools/house.py"
MODULE = '''"""What it is.

More of it.
"""

from typing import Any

from nap.common.files import atomic


class Thing:
    """One."""

    size: int = 0
    """how large"""

    def grow(self, by: Any) -> None:
        """Larger."""
        # Why.
        self.size += by
'''


def test_lines_functions_arrows_and_types_are_counted(tmp_path: Path) -> None:
    for room, text in (("common", "def atomic() -> None:\n    pass\n"), ("data", MODULE)):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text('"""A room."""\n')
        (tmp_path / room / "files.py").write_text(text)
    told = subprocess.run([sys.executable, TOOL, tmp_path], capture_output=True, text=True, check=True).stdout
    found = {line[:10].strip(): line[10:] for line in told.splitlines()}
    assert found["folders"] == "2" and found["files"] == "2, and 2 __init__.py" and found["Any"] == "1"
    assert found["lines"] == f"{MODULE.count(chr(10)) + 4}, {6 + 2} without docstrings, comments and blanks"
    assert found["function"] == "median 3 lines, 90th percentile 4" and found["arrows"].startswith("1, 1 of them")
