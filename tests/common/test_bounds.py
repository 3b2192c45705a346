"""What is out of all proportion is refused at once, with the reason, and before anything is made of it."""

import math
import time
from pathlib import Path
from typing import Any

import pytest

from nap.canvas.canvas import CanvasSpec
from nap.common.bounds import PATHS, check
from nap.common.files import InputError
from nap.common.workers import map_rows
from nap.curation.plan import Plan
from nap.training.settings import Hyper, Watch
from tiny import nap


def plan(**changes) -> Plan:
    return Plan(task="jsonl", models=("m",), **changes)


@pytest.mark.parametrize(
    ("make", "name", "value", "said"),
    [
        (CanvasSpec, "paths", 10**9, "canvas paths must be at most 4096 .each has tags of its own"),
        (CanvasSpec, "path_tokens", 10**10, "canvas path_tokens must be at most 1048576 .no model has more positions"),
        (CanvasSpec, "path_tokens", 10**5000, "a number of 16610 bits"),
        (CanvasSpec, "path_tokens", 1 << 19, "tokens of all slots must be at most 1048576"),
        (CanvasSpec, "summary_tokens", 10**10, "canvas summary_tokens must be at most"),
        (plan, "paths", 10**9, "paths must be at most 4096"),
        (plan, "samples", 10**9, "samples must be at most 4096 .the replies to a problem are compared each with each"),
        (plan, "path_tokens", 10**10, "path_tokens must be at most"),
        (plan, "limit", -1, "problems must be at least 1, got -1"),
        (plan, "seed", 10**30, "seed must be at most"),
        (plan, "prices", (math.nan, 0.0), "prices must be 0 or more and finite"),
        (plan, "data", "\udcff.jsonl", r"data is not valid text .'\"\\udcff'.; rename it"),
        (plan, "licences", (("data", "x\ud800"),), "licences is not valid text"),
        (Hyper, "steps", 10**12, "steps must be at most 1000000000"),
        (Hyper, "batch_size", 10**9, "batch_size must be at most 65536 .the samples of eight steps are in memory"),
        (Hyper, "lora", 10**9, "lora must be at most 16384"),
        (Hyper, "seed", -1, "seed must be at least 0"),
        (Hyper, "seed", 1 << 32, "seed must be at most 4294967295"),
        (Hyper, "weight_decay", math.nan, "weight_decay must be 0 or more and finite"),
        (Watch, "save_every", 0, "save_every must be at least 1"),
        (Watch, "log_every", -5, "log_every must be at least 1"),
        (Watch, "eval_problems", 10**12, "eval_problems must be at most"),
        (lambda **given: map_rows(abs, [1], **given), "workers", 10**6, "workers must be at most 1024"),
    ],
    # pytest would write out the number of 5,000 digits.
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_out_of_all_proportion_is_refused_at_once(make, name: str, value: object, said: str) -> None:
    started = time.perf_counter()
    with pytest.raises(InputError, match=said) as caught:
        make(**{name: value})
    assert time.perf_counter() - started < 0.5 and "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_the_ends_of_a_bound_are_within_it() -> None:
    for value in (PATHS.least, PATHS.most):
        check("paths", value, PATHS)
    with pytest.raises(InputError, match=r"must be a whole number, got 2\.0"):
        check("paths", 2.0, PATHS)


def test_a_command_says_it_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "1?", "answer": 1}')
    flags = ["--task", "jsonl", "--solutions", tmp_path / "p.jsonl", "--out", tmp_path / "run"]
    ended = nap("curate", *flags, "--path-tokens", 10**10)
    assert ended.returncode == 2 and ended.stderr.startswith("nap: path_tokens must be at most 1048576")
    assert ended.stderr.count("\n") == 1 and not (tmp_path / "run").exists()


def test_a_text_that_no_model_has_positions_for_is_refused_before_a_tokenizer_is_given_it() -> None:
    from nap.common.bounds import CHARACTERS
    from nap.decoding.prompt import encode_prompt
    from nap.dependence.scorer import TextReader

    class Reads:
        """A tokenizer that fails where it is asked for a long text."""

        bos_token_id = None

        def encode(self, text: str, **options: bool) -> list[int]:
            assert len(text) <= CHARACTERS.most
            return [1]

    tokenizer: Any = Reads()
    for what, encode in (
        ("prompt", lambda text: encode_prompt(text, tokenizer)), ("text", TextReader(tokenizer, "m").encode),
    ):  # fmt: skip
        assert encode("x" * CHARACTERS.most) == [1]
        with pytest.raises(InputError, match=f"characters of a {what} must be at most 2097152"):
            encode("x" * (CHARACTERS.most + 1))
