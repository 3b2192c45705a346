"""A journal believes only lines whose digest fits; what is damaged costs itself and nothing else."""

import json
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nap.common.journal import AFTER, BEFORE, BETWEEN, DIGITS, Journal, read_journal

ENTRIES = [{"id": f"p{n}", "row": {"text": "<think 1> é\u2028 \\n" * (n % 3), "right": n % 2 == 0}} for n in range(9)]


def key_of(entry: dict) -> str:
    return entry["id"]


def written(path: Path, entries: list[dict] = ENTRIES) -> bytes:
    with Journal(path, key_of, read=dict, write=dict) as journal:
        journal.add(entries[:4])
        journal.add(entries[4:])
    return path.read_bytes()


def opened(path: Path) -> tuple[dict[str, dict], list[str]]:
    said: list[str] = []
    with Journal(path, key_of, said.append, read=dict, write=dict) as journal:
        return journal.done, said


def test_entries_come_back_and_the_last_of_one_key_counts(tmp_path: Path) -> None:
    written(tmp_path / "j")
    with Journal(tmp_path / "j", key_of, read=dict, write=dict) as journal:
        journal.add([{**ENTRIES[0], "row": 7}])
    done, said = opened(tmp_path / "j")
    assert done == {entry["id"]: entry for entry in ENTRIES} | {"p0": {"id": "p0", "row": 7}} and not said
    assert all(json.loads(line)["entry"]["id"] for line in (tmp_path / "j").read_text().splitlines())


@given(data=st.data())
def test_whatever_happens_to_bytes_no_entry_is_falsified_and_untouched_lines_stay(tmp_path_factory, data) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    whole = written(path)
    start = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(start, min(len(whole), start + 40)))
    given_instead = data.draw(st.binary(max_size=40))
    path.write_bytes(whole[:start] + given_instead + whole[end:])
    done, _ = opened(path)
    known = {entry["id"]: entry for entry in ENTRIES}
    assert all(known[key] == entry for key, entry in done.items())
    # A line that ends before the change, or begins after it, is as it was.
    lines, place, untouched = whole.splitlines(keepends=True), 0, set()
    for number, line in enumerate(lines):
        if place + len(line) <= start or (place > end):
            untouched.add(f"p{number}")
        place += len(line)
    assert untouched <= done.keys()
    # What was mended is whole: nothing is said twice, and what is appended can be read.
    again, said = opened(path)
    assert again == done and not said
    with Journal(path, key_of, read=dict, write=dict) as journal:
        journal.add([ENTRIES[0]])
    assert opened(path)[0] == done | {"p0": ENTRIES[0]}


def test_a_line_that_a_kill_cut_is_left_out_without_a_word(tmp_path: Path) -> None:
    whole = written(tmp_path / "j")
    (tmp_path / "j").write_bytes(whole[:-20])
    done, said = opened(tmp_path / "j")
    assert [*done] == [f"p{n}" for n in range(8)] and not said
    assert (tmp_path / "j").read_bytes() == whole[: whole[:-1].rfind(b"\n") + 1]


def test_a_journal_without_digests_is_read_and_gets_them(tmp_path: Path) -> None:
    (tmp_path / "j").write_text("".join(json.dumps(entry) + "\n" for entry in ENTRIES) + '{"id": "p9", "r')
    done, said = opened(tmp_path / "j")
    assert done == {entry["id"]: entry for entry in ENTRIES} and not said
    assert [digested for _, digested in read_journal(tmp_path / "j")] == [True] * 9


def test_a_damaged_line_is_not_taken_for_one_of_an_earlier_version(tmp_path: Path) -> None:
    """Its names spoiled, the rest is good JSON."""
    (tmp_path / "j").write_text('{"digesu": "0", "entry": {"id": "p1"}, "id": "p1"}\n')
    done, said = opened(tmp_path / "j")
    assert not done and len(said) == 1 and "a damaged line" in said[0]


@pytest.mark.parametrize(
    "entry",
    ["5", "null", "[]", '"x"', "[" * 50_000, "1" * 5000, "{", '{"id": {}}', '{"id": [1]}', '{"row": 1}', "\xff"],
)
def test_a_line_whose_digest_fits_and_which_is_no_entry_is_left_out(tmp_path: Path, entry: str) -> None:
    text = entry.encode("latin-1")
    line = BEFORE + blake2b(text, digest_size=DIGITS // 2).hexdigest().encode() + BETWEEN + text + AFTER
    whole = written(tmp_path / "j")
    (tmp_path / "j").write_bytes(line + whole)
    done, said = opened(tmp_path / "j")
    assert len(done) == 9 and len(said) == 1 and "a damaged line" in said[0]
