"""What every test module shares: the data folder and hypothesis without deadlines. Toy models are in `toys.py`."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("NAP_DATA", ROOT.parent / "shared" / "data"))

# The tasks find their data by this variable alone; a test of what they do without it takes it away.
os.environ.setdefault("NAP_DATA", str(DATA))

# Beside other test processes, one thread a process; what a test starts takes it over.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The cores that run the tests are shared: how long one example takes says nothing.
settings.register_profile("nap", deadline=None)
settings.load_profile("nap")


@pytest.fixture(scope="session")
def nap_data() -> Path:
    """The folder of public data sets and reference checkpoints: NAP_DATA, else ../shared/data."""
    if not DATA.is_dir():
        pytest.skip(f"no data at {DATA}; set NAP_DATA to the folder of the public data sets")
    return DATA


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random checkpoint for the arith task (see `tiny.py`)."""
    from tiny import save_tiny

    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random causal language model that reads characters (see `scorers.py`)."""
    from scorers import save_causal

    return save_causal(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """Ray on this machine with two workers, which can import the tests' modules."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'nap-dlm[ray]'")
    tests = Path(__file__).parent
    folders = [tests.parent / "src", tests, *(path for path in tests.iterdir() if path.is_dir())]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, folders)))
        ray.init(num_cpus=2, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    yield
    ray.shutdown()
