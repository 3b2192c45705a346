"""A verdict of math-verify depends on the pair, not on how busy the machine is; a child that hangs is ended."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

import nap.tasks.mathworker
from nap.tasks.mathworker import MathWorker

if not Path("/proc/self/stat").exists():
    pytest.skip("these tests read /proc", allow_module_level=True)
pytest.importorskip("math_verify", reason="math-verify is not installed (extra `math`)")
BOMB = "9^{9^{9^{9}}}"


@pytest.fixture(scope="module")
def worker():
    worker = MathWorker(timeout=0.4)
    assert worker.equal("3", r"\sqrt{9}") is True
    yield worker
    worker.close()


def stopped_for(worker, seconds):
    """Stop the child as a machine does that has no time for it, and let it go on after some seconds."""
    child = worker._child.pid
    os.kill(child, signal.SIGSTOP)
    timer = threading.Timer(seconds, os.kill, (child, signal.SIGCONT))
    timer.start()
    return timer


def cpu_seconds(worker):
    fields = Path(f"/proc/{worker._child.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_time_in_which_the_child_does_not_run_does_not_count(worker):
    stopped_for(worker, 1.5)
    started = time.monotonic()
    assert worker.equal(r"\frac{3\sqrt{27}}{27}", r"\frac{\sqrt{3}}{3}") is True
    assert time.monotonic() - started > 2 * worker.timeout


def test_the_limit_is_of_each_pair_and_not_of_all_together(worker):
    child, begun = worker._child, cpu_seconds(worker)
    for number in range(1000):
        assert worker.equal(f"{number}+x", f"x+{number}") is True
        if cpu_seconds(worker) - begun > 1.5 * worker.timeout:
            break
    else:
        pytest.fail("the pairs were too easy to tell")
    assert worker._child is child


def test_a_pair_that_computes_for_ever_is_ended_by_the_kernel_and_the_next_one_is_answered(worker):
    child = worker._child
    assert worker.equal("5", BOMB) is None
    assert child.returncode == -signal.SIGPROF
    assert worker.equal("3", r"\sqrt{9}") is True


def test_a_child_that_waits_for_ever_is_killed_by_the_clock(monkeypatch):
    monkeypatch.setattr(nap.tasks.mathworker, "PATIENCE", 0.5)
    worker = MathWorker(timeout=1)
    child = worker._started()
    timer = stopped_for(worker, 60)
    assert worker.equal("3", r"\sqrt{9}") is None
    timer.cancel()
    assert child.returncode == -signal.SIGKILL
    worker.close()
