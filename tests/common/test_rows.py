"""Any file of rows is read by what is in it: each encoding and layout gives the same rows; what is none says so."""

import gzip
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nap.common.files import InputError
from nap.common.rows import read_rows, read_values

ROWS = [{"question": "6 × 7?\u2028", "answer": "42"}, {"question": "π?", "answer": None}]


def lines(rows=ROWS):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


LAYOUTS = {
    "lines": lines(),
    "a line": lines().rstrip(),
    "windows": lines().replace("\n", "\r\n\r\n"),
    "list": json.dumps(ROWS),
    "indented list": json.dumps(ROWS, indent=4),
    "indented rows": "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "under a name": json.dumps({"generations": ROWS, "gen_length": 128}),
    "by number": json.dumps({"0": ROWS[0], "1": ROWS[1]}),
    "by column": json.dumps({name: {str(n): row[name] for n, row in enumerate(ROWS)} for name in ROWS[0]}),
    "from the hub": json.dumps({"features": [], "rows": [{"row_idx": n, "row": row} for n, row in enumerate(ROWS)]}),
}


def values(path):
    return [row.value for row in read_rows(path)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_in_every_encoding_gives_the_same_rows_packed_or_not(tmp_path, layout, encoding):
    data = LAYOUTS[layout].encode(encoding)
    (tmp_path / "rows").write_bytes(data)
    (tmp_path / "rows.gz").write_bytes(gzip.compress(data))
    assert values(tmp_path / "rows") == values(tmp_path / "rows.gz") == ROWS


def test_parquet_is_read_whatever_its_name_and_has_only_what_json_has(tmp_path):
    import datetime

    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"a": [["x", None], []], "when": [datetime.date(2025, 5, 2), None], "image": [b"\x89PNG", b""]}
    pq.write_table(pa.table(columns), tmp_path / "rows.jsonl")
    assert values(tmp_path / "rows.jsonl") == [
        {"a": ["x", None], "when": "2025-05-02", "image": "<4 bytes>"},
        {"a": [], "when": None, "image": "<0 bytes>"},
    ]


@pytest.mark.parametrize("kind", ["binary", "large_binary", "binary_view"])
def test_text_that_parquet_calls_bytes_is_text_and_what_is_none_is_refused_where_text_is_wanted(tmp_path, kind):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from nap.evaluation.score import score_file

    def table(**columns):
        held = {name: pa.array([value], getattr(pa, kind)()) for name, value in columns.items()}
        pq.write_table(pa.table(held), tmp_path / "rows.parquet")
        return tmp_path / "rows.parquet"

    path = table(question="6 × 7?".encode(), output=b"It is 19", answer=b"18")
    assert values(path) == [{"question": "6 × 7?", "output": "It is 19", "answer": "18"}]
    assert [(row.answer, row.gold) for row in score_file(path, "gsm8k").rows] == [("19", "18")]
    for name in ("output", "answer", "question"):
        path = table(**{"question": b"q", "output": b"18", "answer": b"18", name: b"\xff18"})
        with pytest.raises(InputError, match="should be a text, got 3 bytes that are not UTF-8"):
            score_file(path, "gsm8k")


def test_maps_views_and_names_of_parquet_are_read_or_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "map": pa.array([[("A", "x"), ("B", "y")], None], pa.map_(pa.string(), pa.string())),
        "list": pa.array([["a"], ["b", "c"]], pa.list_view(pa.string())),
        "text": pa.array(["x", None], pa.string_view()),
    }
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table(columns), path)
    first = {"map": {"A": "x", "B": "y"}, "list": ["a"], "text": "x"}
    assert values(path) == [first, {"map": None, "list": ["b", "c"], "text": None}]
    pq.write_table(pa.Table.from_arrays([pa.array(["1"]), pa.array(["2"])], names=["answer", "answer"]), path)
    with pytest.raises(InputError, match="two columns have the name 'answer'; rename or drop one"):
        values(path)


def test_csv_and_tsv_are_read_by_their_name(tmp_path):
    (tmp_path / "a.csv").write_text('question, answer\n"one\nand two?",3\n')
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(b"question\tanswer\n1+1?\t2\n"))
    assert [row[:2] for row in read_rows(tmp_path / "a.csv")] == [(f"{tmp_path / 'a.csv'}:3", 3)]
    assert values(tmp_path / "a.csv") == [{"question": "one\nand two?", "answer": "3"}]
    assert values(tmp_path / "a.tsv.gz") == [{"question": "1+1?", "answer": "2"}]


def test_csv_has_empty_lines_quotes_windows_line_ends_and_long_cells(tmp_path):
    text = f'\r\nquestion,answer\r\n\r\n"""Six"" by\r\n7?",42\r\n5" pipe,{"x" * 200_000}\r\n\r\n'
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    rows = [{"question": '"Six" by\r\n7?', "answer": "42"}, {"question": '5" pipe', "answer": "x" * 200_000}]
    assert values(tmp_path / "a.csv") == rows


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("q,answer\nSix, by seven,42\n", ":2: 3 cells in this row, and 2 in the header (q, answer); put quotes"),
        ("q,answer\n6*7?,42\n6*8?\n", ":3: 1 cells in this row, and 2 in the header"),
        ('q,answer\n1,1\n"6*7?,42\n6*8?,48\n', ":3: not CSV (a quote that is opened in this row is never closed"),
        ('q,answer\n1,1\n"6*7?,42\n"6*8?",48\n', ":3: not CSV (text follows a closing quote"),
        ('q,answer\n1,"4', ":2: not CSV (a quote that is opened in this row is never closed; was its write cut?"),
        ("q,answer, q\n1,2,3\n", ":1: two columns have the name 'q'; rename or drop one"),
    ],
    ids=["comma", "short", "quote", "two quotes", "cut", "names"],
)
def test_csv_that_would_be_misread_is_refused_by_its_row(tmp_path, rows, said):
    (tmp_path / "a.csv").write_text(rows)
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'a.csv'}{said}")):
        values(tmp_path / "a.csv")


def test_a_row_is_named_by_its_line_and_in_a_list_by_its_number(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text('{"a": 1}\n\n{"a":\n 2}\n')
    assert [row.where for row in read_rows(path)] == [f"{path}:1", f"{path}:3"]
    path.write_text('[\n {"a": 1},\n {"a": 2}\n]')
    assert [row[:2] for row in read_rows(path)] == [(f"{path}:2, row 1", 1), (f"{path}:3, row 2", 2)]


def test_a_row_with_a_list_of_objects_among_others_is_a_row(tmp_path):
    rows = [{"data": [{"x": 1}]}, {"data": [{"x": 2}]}]
    (tmp_path / "rows.jsonl").write_text(lines(rows))
    assert values(tmp_path / "rows.jsonl") == rows
    (tmp_path / "row.jsonl").write_text('{"messages": [{"role": "user"}]}')
    assert values(tmp_path / "row.jsonl") == [{"messages": [{"role": "user"}]}]


@pytest.mark.parametrize("question", ["question", "problem", "prompt", "messages"])
def test_a_file_of_one_row_with_a_question_of_its_own_holds_that_row(tmp_path: Path, question: str) -> None:
    row = {question: "6*7?", "answer": "42", "generations": [{"text": "42"}, {"text": "41"}]}
    (tmp_path / "one.jsonl").write_text(json.dumps(row) + "\n")
    assert [found.value for found in read_rows(tmp_path / "one.jsonl")] == [row]


def test_values_are_given_as_they_stand(tmp_path):
    (tmp_path / "orders.jsonl").write_text("[[0, 0]]\n12345\n[\n[1,\n1]]")
    assert [value for _, value in read_values(tmp_path / "orders.jsonl")] == [[[0, 0]], 12345, [[1, 1]]]


@pytest.mark.parametrize("size", range(1, 30))
def test_a_value_may_end_anywhere_in_what_is_read_at_a_time(tmp_path, monkeypatch, size):
    monkeypatch.setattr("nap.common.jsontext.PART", size)
    rows = [{"a\\": '😀 \\ " é'}, {"b": [-1.5e10, True, None]}, {}]
    (tmp_path / "rows").write_text(json.dumps(rows) + "\n" + json.dumps(rows[0]), encoding="utf-8")
    assert values(tmp_path / "rows") == [*rows, rows[0]]


def parquet() -> bytes:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1]}), file := io.BytesIO())
    return file.getvalue()


def saved(save) -> bytes:
    import io

    save(file := io.BytesIO())
    return file.getvalue()


def torch_file() -> bytes:
    import torch

    return saved(lambda file: torch.save([torch.zeros(2)], file))


def zip_file() -> bytes:
    import zipfile

    def save(file):
        with zipfile.ZipFile(file, "w") as packed:
            packed.writestr("rows.jsonl", "{}")

    return saved(save)


KINDS = {
    "a zip archive": zip_file,
    "a torch file": torch_file,
    "a pickle": lambda: pickle.dumps({"a": 1}),
    "a NumPy array": lambda: saved(lambda file: np.save(file, np.zeros(2))),
    "NumPy arrays": lambda: saved(lambda file: np.savez(file, a=np.zeros(2))),
    "a PNG image": lambda: b"\x89PNG\r\n\x1a\n" + bytes(20),
    "a PDF": lambda: b"%PDF-1.7\n%\xe2\xe3",
    "an xz file": lambda: b"\xfd7zXZ\x00\x00\x04",
    "a Zstandard file": lambda: b"\x28\xb5\x2f\xfd\x04",
    "an Arrow stream": lambda: b"\xff\xff\xff\xff\x10\x01",
    "an SQLite database": lambda: b"SQLite format 3\x00",
    "the weights of a model (safetensors)": lambda: b'\x40\x00\x00\x00\x00\x00\x00\x00{"w":{"dtype":',
    "the weights of a model (GGUF)": lambda: b"GGUF\x03\x00\x00\x00",
    "a Git LFS pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n",
    "a web page": lambda: b"<!DOCTYPE html>\n<html><body>404",
    "a binary file": lambda: bytes(range(64)),
    "a Parquet file; this command wants text inside gzip": lambda: gzip.compress(parquet()),
    "a gzip file; gunzip it inside gzip": lambda: gzip.compress(gzip.compress(b"{}")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_text_says_what_it_is(tmp_path, kind):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(KINDS[kind]())
    for read in (read_rows, read_values):
        with pytest.raises(InputError) as refused:
            list(read(path))
        assert str(refused.value).startswith(f"{path} is no text: this is {kind}")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"a": 1}\n{"a": 1', ":2: not JSON (Expecting ',' delimiter): '{\"a\": 1'"),
        (b'{"a": 1}\n{"a": 1\n{"a": 2}\n', ":2: not JSON (Expecting ',' delimiter on line 3): '{\"a\": 1'"),
        (b'[{"a": 1},\n{"a": 2}', ":2: not JSON (a list is not closed); was its write cut?"),
        (b'[{"a": 1}\n{"a": 2}]', ":2: not JSON (a list that begins on line 1 goes on with '{')"),
        (b'[{"a": 1},\n]', ":2: not JSON (a comma before the end of a list)"),
        (b'{"a": "' + b"x" * 99, ":1: not JSON (Unterminated string"),
        (b"[" * 100_000, ":1: not JSON (maximum recursion"),
        (b'{"a": ' + b"9" * 5000 + b"}", ":1: not JSON (Exceeds the limit"),
        (b'{"a": "\xff"}', " is not UTF-8 text (byte 7); convert it (iconv -t utf-8)"),
        ('{"a": "é"}'.encode("latin-1"), " is not UTF-8 text (byte 7)"),
        (b"\xff\xfe{\x00\x00", " is not UTF-16 text (byte 4); is it cut?"),
        (b"\n3", ":2: a JSON object was expected, got int"),
        (b'[{}, "a"]', ":1, row 2: a JSON object was expected, got str"),
        (b"question,answer\n1,2\n", ":1: not JSON (Expecting value): 'question,answer'"),
        (b"PAR1" + b"x" * 99, " is not a whole Parquet file ("),
        (gzip.compress(b'{"a": 1}\n' * 99, mtime=0)[:-9], " is a damaged gzip file ("),  # bytes name the test
        (b"\x1f\x8b\x08\x00garbage", " is a damaged gzip file ("),
    ],
)  # fmt: skip
def test_a_bad_file_is_one_line_that_says_where(tmp_path, data, said):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    with pytest.raises(InputError) as refused:
        list(read_rows(path))
    message = str(refused.value)
    assert message.startswith(f"{path}{said}") and "\n" not in message and len(message) < 300 + len(str(path))


def test_pipes_devices_folders_and_impossible_names_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "rows.parquet").write_bytes(b"")
    said = {"pipe": "is a pipe or a device", "run": "is a folder; a file was expected; it holds rows.parquet"}
    said |= {"/dev/zero": "is a pipe or a device", "no\x00name": "cannot read", "absent": "no such file"}
    for name, message in said.items():
        with pytest.raises(InputError, match=message):
            list(read_rows(tmp_path / name))


def peak_of(path):
    """(rows, megabytes, message) of reading a file in a process of its own."""
    script = f"""
import re
from nap.common.rows import read_rows
rows, said = 0, ""
try:
    for row in read_rows({str(path)!r}):
        rows += 1
except ValueError as error:
    said = str(error)
print(rows, int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) >> 10, said)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    rows, peak, said = ended.stdout.split(" ", 2)
    return int(rows), int(peak), said


def test_a_list_is_read_without_being_in_memory(tmp_path):
    rows = [{"question": "why " * 500}] * 30_000
    (tmp_path / "rows.json").write_text(json.dumps(rows, indent=1))
    found, peak, said = peak_of(tmp_path / "rows.json")
    assert (found, said.strip()) == (30_000, "") and peak < 100, "60 MB in one list, in megabytes"


def repeated(path, length, columns):
    import pyarrow as pa
    import pyarrow.parquet as pq

    def of(text, count):
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([text]))

    pq.write_table(pa.table(columns(pa, of)), path)
    assert path.stat().st_size < length


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (lambda pa, of: {"a": of("x", 10**7)}, "out of all proportion to its size"),
        (lambda pa, of: {"a": of("x" * 10**7, 1000)}, "out of all proportion to its size"),
        (lambda pa, of: {"a": pa.ListArray.from_arrays([0, 10**6], of("x" * 10**5, 10**6))}, "MB in one row"),
        (lambda pa, of: {"a": pa.ListArray.from_arrays([0, 10**8], np.zeros(10**8, np.int8))}, "in one row group"),
    ],
    ids=["rows", "texts", "texts in a list", "a list"],
)
def test_a_small_parquet_that_stands_for_gigabytes_is_refused_in_little_memory(tmp_path, columns, said):
    repeated(tmp_path / "bomb.parquet", 1 << 20, columns)
    _, peak, message = peak_of(tmp_path / "bomb.parquet")
    assert said in message and peak < 600


def test_a_gzip_bomb_is_refused_in_little_memory(tmp_path, monkeypatch):
    (tmp_path / "long.gz").write_bytes(gzip.compress(b'{"a": "' + b"x" * (300 << 20) + b'"}', 1))
    (tmp_path / "many.gz").write_bytes(gzip.compress(b'{"a": 1}\n' * 10**6))
    _, peak, said = peak_of(tmp_path / "long.gz")
    assert "a value of more than 128 MB" in said and peak < 600
    monkeypatch.setattr("nap.common.textinput.ALWAYS_FITS", 1 << 20)
    with pytest.raises(InputError, match="over 100 times its own size"):
        for _ in read_rows(tmp_path / "many.gz"):
            pass
