"""math-verify in a process that can be killed.

    MathWorker(timeout=5).equal(r"\\frac12", "0.5")   # True, False, or None where math-verify gave no verdict in time

math-verify parses LaTeX with SymPy, where `9^{9^{9^{9}}}` takes unlimited time and memory, and its own timeouts only
work in a main thread. So it runs in a child process (`python -m nap.tasks.mathworker`), which answers each line of JSON
with one line. If its time is up or it dies, the next pair gets a new child. Only text is exchanged.

The time of a pair is the CPU time of the child, limited by the kernel, so a verdict does not depend on the load of the
machine.

Does not extract answers, and does not decide what a missing verdict means (answers.py).
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading

from nap.common.files import InputError

# SymPy takes some 0.2 GB; a power tower would take all memory before its time is up.
MEMORY_BYTES = 2 << 30
# Importing SymPy takes 2 s on an idle core, and many times that on a busy machine.
START_SECONDS = 120.0
# Wall time of a pair, as a multiple of its CPU time: a child that only waits uses no CPU time, and must end too.
PATIENCE = 60


class MathWorker:
    """A child process that compares LaTeX answers, started at the first pair. Safe to share between threads.

    timeout  seconds of CPU time that one pair may take (by the clock where the system has no such limit: Windows)
    """

    def __init__(self, timeout: float = 5.0) -> None:
        if importlib.util.find_spec("math_verify") is None:
            raise InputError("comparing LaTeX answers needs math-verify; install it with: pip install 'nap-dlm[math]'")
        self.timeout = timeout
        self._patience = timeout if sys.platform == "win32" else PATIENCE * timeout
        self._child: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def equal(self, gold: str, answer: str) -> bool | None:
        """Whether math-verify finds the answer equal to the right one; None if it hangs, dies or fails on the pair."""
        request = json.dumps([gold, answer])
        with self._lock:
            reply = self._exchange(self._started(), request, self._patience)
        return {"equal": True, "different": False}.get(reply)

    def close(self) -> None:
        """Kill the child, if there is one."""
        if self._child is not None:
            # `communicate` closes the pipes and waits; a plain close would raise where the child left input unread.
            self._child.kill()
            self._child.communicate()
            self._child = None

    def _started(self) -> subprocess.Popen[str]:
        if self._child is not None and self._child.poll() is not None:
            self.close()
        if self._child is None:
            self._child = subprocess.Popen(
                # -P, so that a `random.py` in the current folder is not imported.
                [sys.executable, "-P", "-m", "nap.tasks.mathworker", str(self.timeout)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                # SymPy iterates over sets of symbols, whose order could change a verdict.
                env=os.environ | {"PYTHONHASHSEED": "0"},
            )
            if self._exchange(self._child, json.dumps(["1", "1"]), START_SECONDS) != "equal":
                raise InputError("math-verify does not start; try: echo '[1, 1]' | python -m nap.tasks.mathworker 5")
        assert self._child
        return self._child

    def _exchange(self, child: subprocess.Popen[str], request: str, seconds: float) -> str:
        """The child's reply, or "" if it died on the request or was killed for taking too long."""
        assert child.stdin and child.stdout
        killed = threading.Event()
        late = threading.Timer(seconds, lambda: (child.kill(), killed.set()))
        late.start()
        reply = ""
        try:
            child.stdin.write(request + "\n")
            child.stdin.flush()
            reply = child.stdout.readline().strip()
        except BrokenPipeError:
            pass  # it died before it read: no reply
        finally:
            late.cancel()
            late.join()
            # Also after an interrupt: an answer left in the pipe would be taken for that of the next pair.
            if not reply or killed.is_set():
                self.close()
        return reply


def main(seconds: float) -> None:
    """Answer pairs from standard input, a line each, until it ends. A pair may take `seconds` of CPU time."""
    from math_verify import parse, verify

    # Output that SymPy prints is not a reply.
    replies, sys.stdout = sys.stdout, sys.stderr
    limit_memory()
    for line in sys.stdin:
        limit_time(seconds)
        gold, answer = (parse(f"${text}$", parsing_timeout=0) for text in json.loads(line))
        equal = verify(gold, answer, timeout_seconds=0)
        print("equal" if equal else "different", file=replies, flush=True)


def limit_time(seconds: float) -> None:
    """Let the system end this process after this much more CPU time, where the system can."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_PROF, seconds)


def limit_memory() -> None:
    """Let this process hold at most MEMORY_BYTES, on systems that can."""
    if sys.platform != "win32":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


if __name__ == "__main__":
    main(float(sys.argv[1]))
