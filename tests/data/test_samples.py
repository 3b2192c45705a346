"""Samples are read from any file of rows, and one that is none is named with what it lacks."""

import json
import os
from pathlib import Path

import pytest

from nap.common.files import InputError
from nap.data.problems import Problem
from nap.data.samples import Path as SamplePath
from nap.data.samples import Sample, read_samples, sample_to_row, write_samples

SAMPLE = Sample(problem=Problem(id="1", prompt="?", answer="4"), paths=(SamplePath(text="2 + 2"),), summary="4")
ROW = sample_to_row(SAMPLE)


def test_samples_in_lines_of_json_are_those_of_parquet(tmp_path: Path) -> None:
    write_samples([SAMPLE] * 3, tmp_path / "s.parquet")
    (tmp_path / "s.jsonl").write_text(f"{json.dumps(ROW)}\n" * 2 + json.dumps(ROW | {"meta": {}}))
    assert [*read_samples(tmp_path / "s.parquet")] == [*read_samples(tmp_path / "s.jsonl")] == [SAMPLE] * 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"paths": [{"text": 5}]}, "the text of path 1 is no text"),
        ({"paths": [{"text": "x", "correct": "yes"}]}, "correct of path 1 is neither true nor false"),
        ({"paths": [{"text": "x", "correct": 1}]}, "correct of path 1 is neither true nor false"),
        ({"paths": [{"text": "x"}, {"text": "x", "answer": 5}]}, "the answer of path 2 is no text"),
        ({"paths": [{"text": "x", "source": ["m"]}]}, "the source of path 1 is no text"),
        ({"paths": None}, "paths is no list"),
        ({"paths": [{"words": "x"}]}, "path 1 has no text"),
        ({"paths": ["x"]}, "path 1 is no object"),
        ({"summary": 4}, "summary is no text"),
        ({"prompt": 4}, "prompt is no text"),
        ({"id": None}, "id is empty"),
        ({"meta": "["}, "Expecting value"),
        ({"meta": "[]"}, "meta is not an object"),
        ({"meta": "[" * 100_000}, "recursion"),
        (None, "it has no 'id'; it has question.; a row has id, task, prompt, .*: nap curate makes them"),
    ],
)
def test_a_row_that_is_no_sample_is_named_with_what_it_lacks(tmp_path: Path, change: dict | None, said: str) -> None:
    row = {"question": "?"} if change is None else ROW | change
    (tmp_path / "s.jsonl").write_text(f"{json.dumps(ROW)}\n{json.dumps(row)}\n")
    with pytest.raises(InputError, match=rf"s.jsonl:2 does not hold samples .*{said}") as caught:
        [*read_samples(tmp_path / "s.jsonl")]
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400 + len(str(tmp_path))


def test_what_others_noted_of_a_path_is_left_out_and_no_text_is_an_empty_one(tmp_path: Path) -> None:
    noted = ROW | {"paths": [{"text": "2 + 2", "score": 0.5}, {"text": None}], "summary": None}
    (tmp_path / "s.jsonl").write_text(json.dumps(noted))
    (sample,) = read_samples(tmp_path / "s.jsonl")
    assert sample.paths == (SamplePath(text="2 + 2"), SamplePath(text="")) and sample.summary == ""


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InputError, match="is a pipe or a device"):
            [*read_samples(path)]
