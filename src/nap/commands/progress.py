"""Where a long command stands: one line on standard error, rewritten where it is a terminal, else one every tenth.

Does not know what is counted.
"""

import shutil
import sys

from nap.common.terminal import plain
from nap.common.text import visible


def show(done: int, total: int, what: str, fresh: int = 1) -> None:
    """`12/200 decoded`: `done` of `total`, after `fresh` more; `what` follows the numbers."""
    last = done == total
    line = f"{done}/{total} {what}"
    if sys.stderr.isatty():
        # Longer than the terminal is wide, it would not be rewritten.
        line = visible(line, kept="")[: shutil.get_terminal_size().columns - 1]
        print(f"\r\x1b[K{line}", end="\n" if last else "", file=plain(sys.stderr), flush=True)
    elif last or done * 10 // total > (done - fresh) * 10 // total:
        print(line, file=sys.stderr, flush=True)
