"""Hostile changes to files: of bytes, of the values of JSON wherever they stand, of the rows of Parquet.

Every change is drawn from a `random.Random`, so that a seed and a number give the same one again. Values are of the
kinds that have broken readers before: other types, numbers out of all proportion, text that moves a cursor or that
UTF-8 cannot hold, and names of other files.

Does not know which command reads the file.
"""

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Random = random.Random

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x1b[31m\r\x9b31m\u202e\u2028"
HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 7, 2**31, 2**63, 10**30, 0.5, -1e-9, 1e308, float("nan"), float("inf"),
    "", " ", "x", "0", ESCAPES, "\ud800", "a\0b", "../../../etc/passwd", "/dev/zero", "$\\frac$",
    "</script><script>alert(1)</script>",
    [], {}, [[]], [None], {"": None}, [1, "x", None], {ESCAPES: ESCAPES},
)  # fmt: skip
# Of these one at most in a file, because they are long.
LARGE: tuple[Callable[[], Any], ...] = (
    lambda: "x" * 1_000_000,
    lambda: "<" + " " * 40_000,
    lambda: "((((" * 20_000,
    lambda: ESCAPES * 2000,
    lambda: [0] * 100_000,
    lambda: [[0, 0] for _ in range(20_000)],  # lists of their own: a change of one is no change of all
    lambda: {str(n): n for n in range(20_000)},
    lambda: 10**4000,
)
# Text that is no valid JSON value, or one that few parsers survive.
RAW: tuple[str, ...] = ("1" * 5000, "[" * 20_000, '{"a":' * 20_000, "NaN", "-Infinity", '"\\ud800"', "1e999", '"')


def value(rng: Random) -> Any:
    """A hostile value."""
    # A copy: what is put into a tree may be changed there.
    return rng.choice(LARGE)() if rng.random() < 0.15 else copy.deepcopy(rng.choice(HOSTILE))


def text(rng: Random) -> str:
    """A hostile text."""
    return rng.choice([ESCAPES, "\ud800", "a\0b", "x" * 100_000, "", "../..", "$\\frac$", "\u202e", ESCAPES * 500])


def places(tree: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in a JSON value, at most some thousands of them."""
    found = [at]
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree[:40]) if isinstance(tree, list) else ()
    for key, part in parts:
        if len(found) < 5000:
            found += places(part, (*at, key))
    return found


def changed(tree: Any, rng: Random) -> Any:
    """The JSON value with one to three of its values replaced, removed, renamed or doubled."""
    tree = json.loads(json.dumps(tree))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        tree = _changed_once(tree, rng)
    return tree


def _changed_once(tree: Any, rng: Random) -> Any:
    *way, last = rng.choice(places(tree)) or (None,)
    holder = tree
    try:
        for key in way:
            holder = holder[key]
        kind = rng.random()
        if last is None or not isinstance(holder, dict | list):
            return value(rng)
        if kind < 0.75:
            holder[last] = value(rng)
        elif kind < 0.85:
            del holder[last]
        elif isinstance(holder, dict):
            holder[text(rng)] = holder[last]
        else:
            holder += holder[last:] * 3
    except (KeyError, IndexError, TypeError):
        return value(rng)
    return tree


def dumped(tree: Any, rng: Random) -> str:
    """The value as JSON, sometimes with a value in it that `json` cannot write."""
    if rng.random() > 0.1:
        return json.dumps(tree)
    mark = "the-place-of-a-raw-value"
    found = places(tree)
    *way, last = rng.choice(found) or (None,)
    holder = tree
    for key in way:
        holder = holder[key]
    if last is None:
        return rng.choice(RAW)
    holder[last] = mark
    return json.dumps(tree).replace(f'"{mark}"', rng.choice(RAW))


def json_file(data: bytes, rng: Random) -> bytes:
    """A JSON file, one of its values changed."""
    return dumped(changed(json.loads(data), rng), rng).encode("utf-8", "surrogatepass")


def jsonl_file(data: bytes, rng: Random, line: Callable[[Any, Random], bytes] | None = None) -> bytes:
    """A file of JSON lines, values of one of them changed."""
    lines = data.decode().splitlines()
    chosen = rng.randrange(len(lines))
    made = [one.encode() for one in lines]
    tree = changed(json.loads(lines[chosen]), rng)
    made[chosen] = line(tree, rng) if line else dumped(tree, rng).encode("utf-8", "surrogatepass")
    return b"\n".join(made) + b"\n"


def some_bytes(data: bytes, rng: Random) -> bytes:
    """The bytes with a bit flipped, a part overwritten, cut, doubled or put in."""
    if not data:
        return rng.randbytes(50)
    at, size, kind = rng.randrange(len(data)), rng.choice((1, 4, 64, 4096)), rng.randrange(7)
    made = bytearray(data)
    if kind == 0:
        made[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        made[at : at + size] = bytes(len(made[at : at + size]))
    elif kind == 2:
        made[at : at + size] = rng.randbytes(len(made[at : at + size]))
    elif kind == 3:
        del made[at:]
    elif kind == 4:
        made[at:at] = made[at : at + size]
    elif kind == 5:
        made[at:at] = rng.choice((b"\xff\xfe", b"\x00" * 8, b"\x1b[31m", b"\xed\xa0\x80", rng.randbytes(size)))
    else:
        made = made[at:]
    return bytes(made)


def parquet_file(data: bytes, rng: Random) -> bytes:
    """A Parquet file, a column of it changed: other values, another type, another name, or none."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    if rng.random() < 0.3:
        return some_bytes(data, rng)
    table = pq.read_table(io.BytesIO(data))
    number = rng.randrange(table.num_columns)
    name, rows = table.column_names[number], table.num_rows
    kind = rng.randrange(5)
    if kind == 0:
        table = table.drop_columns([name])
    elif kind == 1:
        table = table.rename_columns([rng.choice(("x", ESCAPES, "")) if c == name else c for c in table.column_names])
    else:
        hostile: list[Any] = [
            None, True, -1, 2**62, 1e308, float("nan"), "", "x", ESCAPES, b"\xff\xfe", [None], ["x", None], {"a": None},
            "x" * 100_000, [ESCAPES],
        ]  # fmt: skip
        own = table.column(number).to_pylist()
        put = rng.choice(hostile)
        try:
            some = [put if n == 0 or kind == 2 else one for n, one in enumerate(own)]
            column = pa.array(some)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            column = pa.array([put] * rows)
        table = table.set_column(number, name, column)
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def safetensors_file(data: bytes, rng: Random) -> bytes:
    """A safetensors file, its header or its bytes changed."""
    size = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + size]
    if rng.random() < 0.5:
        return some_bytes(data, rng)
    made = json_file(header, rng)
    return (len(made) if rng.random() < 0.9 else rng.getrandbits(63)).to_bytes(8, "little") + made + data[8 + size :]


def npy_file(data: bytes, rng: Random) -> bytes:
    """A .npy file whose header lies, or with other bytes."""
    if rng.random() < 0.5:
        return some_bytes(data, rng)
    shape = rng.choice(("(1000000000,1000000)", "(99999999999,)", "(-1,)", "(3,3,3,3)", "()", "(0,0)", "('x',)"))
    kind = rng.choice(("'<i8'", "'|O'", "'<f8'", "'|V8'", "'<U1000000000'", "[('a','<i8')]", "'<M8[s]'", "'>i2'"))
    head = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + data[-64:]


def digested_line(tree: Any, rng: Random) -> bytes:
    """A journal's line with a digest that fits what it holds, however hostile that is."""
    from nap.common.journal import AFTER, BEFORE, BETWEEN, _digest  # pyright: ignore[reportPrivateUsage]

    held = tree.get("entry", tree) if isinstance(tree, dict) else tree
    entry = dumped(held, rng).encode("utf-8", "surrogatepass")
    return (BEFORE + _digest(entry) + BETWEEN + entry + AFTER).rstrip(b"\n")


def journal_file(data: bytes, rng: Random) -> bytes:
    """A journal of a run: an entry changed under a digest that fits, or bytes changed that no digest fits."""
    return jsonl_file(data, rng, digested_line) if rng.random() < 0.7 else some_bytes(data, rng)


KINDS: dict[str, Callable[[bytes, Random], bytes]] = {
    "json": json_file, "jsonl": jsonl_file, "bytes": some_bytes, "parquet": parquet_file,
    "safetensors": safetensors_file, "npy": npy_file, "journal": journal_file,
}  # fmt: skip


def spoil(path: Path, kind: str, rng: Random) -> None:
    """Change the file on the disk; one in five changes is of its bytes, whatever its kind."""
    data = path.read_bytes()
    path.write_bytes(some_bytes(data, rng) if not data or rng.random() < 0.2 else KINDS[kind](data, rng))


# Kinds whose texts `injections` finds, and what a page must never hold as it is.
TEXTS = ("json", "jsonl", "journal", "parquet")
SCRIPT = "<script>document.title='owned'</script>"
INJECTED = f"{ESCAPES}</script>{SCRIPT}<img src=x onerror=alert(1)>"


def injections(data: bytes, kind: str) -> Iterator[bytes]:
    """The file with INJECTED behind each of its texts in turn, keys included; of a file of lines in its first line."""
    if kind == "parquet":
        yield from _parquet_injections(data)
        return
    first, _, rest = data.decode().partition("\n") if kind != "json" else (data.decode(), "", "")
    tree = json.loads(first)
    held = tree["entry"] if kind == "journal" else tree
    for at in places(held):
        for made in _injected(held, at):
            line = digested_line(made, random.Random(1)) if kind == "journal" else json.dumps(made).encode()
            yield line + b"\n" + rest.encode()


def _injected(tree: Any, at: tuple[Any, ...]) -> Iterator[Any]:
    """The value with the text at this place changed, if it is one; and with its key changed."""
    if not at:
        return
    for as_key in (False, True):
        made = json.loads(json.dumps(tree))
        *way, last = at
        holder = made
        for key in way:
            holder = holder[key]
        if not as_key and isinstance(holder[last], str):
            holder[last] += INJECTED
        elif as_key and isinstance(last, str):
            holder[last + INJECTED] = holder.pop(last)
        else:
            continue
        yield made


def _parquet_injections(data: bytes) -> Iterator[bytes]:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data))
    for number, name in enumerate(table.column_names):
        column = table.column(number)
        values = column.to_pylist()
        for at in places(values):
            for made in _injected(values, at):
                try:
                    changed_table = table.set_column(number, name, pa.array(made, column.type))
                except (pa.ArrowException, TypeError, ValueError):
                    continue
                out = io.BytesIO()
                pq.write_table(changed_table, out)
                yield out.getvalue()
