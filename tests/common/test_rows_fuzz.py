"""No damaged file makes a reader fail otherwise than by one line: files of every kind, changed at random.

`NAP_FUZZ=10000 pytest tests/common/test_rows_fuzz.py` tries so many of each kind; here it is a few.
"""

import gzip
import io
import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from damage import changes, damaged
from nap.common.files import InputError
from nap.common.rows import read_rows, read_values

ROWS = [{"question": "6 × 7?", "answer": 42, "outputs": ["a", None, "\ud83d\ude00"]}, {"answer": -1.5e3}, {"a": {}}] * 3
TEXT = "".join(json.dumps(row) + "\n" for row in ROWS)


def parquet(**options) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([{"q": f"{n} + 1?", "a": [n, None], "t": "x"} for n in range(20)]),
                   file := io.BytesIO(), **options)  # fmt: skip
    return file.getvalue()


SEEDS = {
    "lines": lambda: TEXT.encode(),
    "list": lambda: json.dumps(ROWS, indent=1).encode(),
    "utf-16": lambda: TEXT.encode("utf-16"),
    "held": lambda: json.dumps({"generations": ROWS}).encode(),
    "gzip": lambda: gzip.compress(TEXT.encode()),
    "parquet": parquet,
    "plain parquet": lambda: parquet(compression="none", use_dictionary=False),
    "csv": lambda: b'question,answer\n"6 x 7?",42\n1,2,3\n',
}
TRIES = int(os.environ.get("NAP_FUZZ", "150"))
# The class lists its checks, which its own type does not say.
ANY_PACE: Any = list(HealthCheck)


@pytest.mark.parametrize("kind", SEEDS)
def test_a_damaged_file_is_read_or_refused_in_one_line(kind, tmp_path):
    seed = SEEDS[kind]()
    path = tmp_path / ("rows.csv" if kind == "csv" else "rows")

    @settings(max_examples=TRIES, deadline=None, suppress_health_check=ANY_PACE, database=None)
    @given(st.lists(changes(), min_size=1, max_size=4))
    def try_one(many):
        path.write_bytes(damaged(seed, many))
        for read in (read_rows, read_values):
            try:
                json.dumps([value[-1] for value in read(path)])
            except InputError as error:
                assert "\n" not in str(error) and len(str(error)) < 500 and str(path) in str(error)

    try_one()


@settings(max_examples=TRIES, deadline=None, suppress_health_check=ANY_PACE)
@given(st.binary(max_size=600))
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "bytes"
    path.write_bytes(data)
    try:
        list(read_rows(path))
    except InputError as error:
        assert "\n" not in str(error) and str(path) in str(error)
