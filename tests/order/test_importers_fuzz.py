"""No damaged record of another system, order or trace makes a reader fail otherwise than by one line.

`NAP_FUZZ=10000 pytest tests/order/test_importers_fuzz.py` tries so many of each kind; here it is a few.
"""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from damage import changes, damaged
from nap.common.files import InputError
from nap.data.trace_files import read_traces, write_traces
from nap.order.importers import Known, import_traces
from nap.order.order import read_orders
from samples import lanes

M = 99
HISTORIES = [[[5, 6, M, M], [5, M, M, 2]], [[5, 6, 7, M], [5, 8, M, 2]], [[5, 6, 7, 8], [5, 8, 9, 2]]]
KNOWN = Known(mask_id=M, uncounted=(2,))
TRIES = int(os.environ.get("NAP_FUZZ", "100"))
# The class lists its checks, which its own type does not say.
ANY_PACE: Any = list(HealthCheck)


def saved(save: Any, *values: Any, **named: Any) -> bytes:
    file = io.BytesIO()
    save(file, *values, **named)
    return file.getvalue()


def torch_saved(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def traces(folder: Path, name: str) -> bytes:
    write_traces([lanes(4), lanes(4)], folder / name)
    return (folder / name).read_bytes()


ARRAYS = {
    ".npy": lambda: saved(np.save, np.array(HISTORIES)),
    ".npz": lambda: saved(np.savez, histories=np.array(HISTORIES)),
    ".packed.npz": lambda: saved(np.savez_compressed, *map(np.array, HISTORIES)),
    ".pt": lambda: torch_saved({"histories": torch.tensor(HISTORIES)}),
    ".json": lambda: json.dumps({"histories": HISTORIES}).encode(),
}


def read_all(path: Path, read: Any) -> None:
    try:
        for _ in read(path):
            pass
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 600 and str(path) in str(error)


@pytest.mark.parametrize("kind", ARRAYS)
def test_a_damaged_record_is_read_or_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    seed, path = ARRAYS[kind](), tmp_path / f"record{kind}"

    @settings(max_examples=TRIES, deadline=None, suppress_health_check=ANY_PACE, database=None)
    @given(st.lists(changes(), min_size=1, max_size=4))
    def try_one(many: list[Any]) -> None:
        path.write_bytes(damaged(seed, many))
        read_all(path, lambda file: import_traces(file, "dllm", KNOWN))

    try_one()


@pytest.mark.parametrize("kind", ["t.jsonl", "t.parquet", "orders.jsonl", "maps.json"])
def test_a_damaged_trace_or_order_is_read_or_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    texts = {
        "orders.jsonl": b"[[0, 0], [1, 2]]\n[[7, 0]]\n",
        "maps.json": b'[{"step_map": [[0, 1, 1], [2, -1]]}, {"meta_info": {"step_map": [0, null]}}]',
    }
    seed = texts[kind] if kind in texts else traces(tmp_path, kind)
    path = tmp_path / f"bad-{kind}"

    @settings(max_examples=TRIES, deadline=None, suppress_health_check=ANY_PACE, database=None)
    @given(st.lists(changes(), min_size=1, max_size=4))
    def try_one(many: list[Any]) -> None:
        path.write_bytes(damaged(seed, many))
        read_all(path, read_orders if kind in texts else read_traces)

    try_one()
