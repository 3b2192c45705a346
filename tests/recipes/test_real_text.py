"""Windows of real text are cut before words, and give the same tokens again; the table says what there is."""

import sys

import pytest

from nap.common.files import InputError
from tiny import RECIPES, recipe

sys.path.insert(0, str(RECIPES))
REAL, write_rows = recipe("real_text"), recipe("agreement").write_rows
TEXT = "".join(f" {word} of{' the' * (i % 3)} {i}, {word[::-1]}.\n" for i, word in enumerate(["house", "tree"] * 400))


@pytest.fixture(scope="module")
def windows():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=300, special_tokens=["<pad>"]))
    return REAL.Windows(PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>"), TEXT)


@pytest.mark.parametrize(("form", "lengths"), [("chain", [(32, 96)]), ("passages", [(11, 32), (11, 32), (10, 32)])])
def test_windows_are_stretches_of_the_text_with_exactly_as_many_tokens(windows, form, lengths):
    for index in range(20):
        window = windows.draw(form, 0, index)
        assert [(len(lead), len(text)) for lead, text in window.parts] == lengths
        said = [windows.tokenizer.decode([*lead, *text]) for lead, text in window.parts]
        assert all(piece in TEXT and piece[0].isspace() for piece in said)
        for text, part in ((window.prompt, 0), (window.slot, 1)):
            assert windows.tokenizer(text)["input_ids"] == [token for pair in window.parts for token in pair[part]]


def test_a_window_is_the_same_for_the_same_arguments(windows):
    assert windows.draw("passages", 1, 2) == windows.draw("passages", 1, 2) != windows.draw("passages", 2, 2)


def test_the_table_has_what_was_stored_and_says_what_was_not(tmp_path, monkeypatch):
    monkeypatch.setattr(REAL, "RESULTS", tmp_path)
    ties = dict(zip(REAL.TIES, (0.1, 0.3), strict=True))
    rows = [
        {"policy": policy, "global_arness@1": value, "global_arness@1_random": 0.0, "third_arness@1": 1.0, "tau_b": 0.5}
        for policy, value in {"low_confidence": 0.2, **ties}.items() for _ in range(2)
    ]  # fmt: skip
    write_rows(rows, tmp_path / "wikitext-chain-0.parquet", {"profile": [0.8, 0.7, 0.9]})
    lines = REAL.table().splitlines()
    own = "0.80 [0.70, 0.90] | 0.20 [0.20, 0.20] | 0.10 to 0.30 | 1.00 [1.00, 1.00] | 0.50 [0.50, 0.50]"
    assert f"| wikitext-2 | as it stands | {own} |" in lines
    assert sum("not run yet" in line for line in lines) == 3


def stored(folder, arm, whole, third, profile=0.5):
    """Two windows of a model, .02 apart, of this ARness of the canvas and of its thirds."""
    random = REAL.THIRD_RANDOM
    rows = [
        {"policy": "low_confidence", "global_arness@1": whole + off, "global_arness@1_random": 0.0,
         "third_arness@1": random + (1 - random) * (third + off), "tau_b": 0.5}
        for off in (-0.01, 0.01)
    ]  # fmt: skip
    write_rows(rows, folder / f"{arm}-0.parquet", {"profile": [profile, 0.0, 1.0]})


def test_the_rules_are_read_off_the_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(REAL, "RESULTS", tmp_path)
    assert REAL.verdicts().count("not run yet") == 5
    stored(tmp_path, "gsm8k-chain", 0.5, 0.30, profile=0.4)
    stored(tmp_path, "gsm8k-passages", 0.2, 0.10)
    stored(tmp_path, "wikitext-chain", 0.2, 0.60, profile=0.8)
    stored(tmp_path, "wikitext-passages", 0.2, 0.60)
    monkeypatch.setattr(REAL, "CLOSE", 0.07)
    # Welch by hand: s = .01 sqrt 2 of two values, the error of a difference .01 sqrt 2, t of 2 degrees 4.303: .061.
    assert [line.split("|")[3:5] for line in REAL.verdicts().splitlines()[2:]] == [
        [" +0.30 [+0.24, +0.36] ", " yes "], [" +0.20 [+0.14, +0.26] ", " yes "],
        [" +0.00 [-0.06, +0.06] ", " open "], [" +0.00 [-0.06, +0.06] ", " no "],
        [" +0.30 [+0.24, +0.36] ", " yes "],
    ]  # fmt: skip
    stored(tmp_path, "gsm8k-chain", 0.5, 0.30, profile=0.9)
    assert REAL.verdicts().splitlines()[-1].startswith("| S3 | GSM8K")
    assert REAL.verdicts().endswith("| -0.30 [-0.36, -0.24] | no |")


def test_the_page_is_as_the_rows_make_it():
    page = REAL.PAGE.read_text()
    assert REAL.written(page) == page
    with pytest.raises(InputError, match="two lines"):
        REAL.written("no marks")


def test_solutions_come_without_the_marks_of_the_calculator():
    row = {"question": "How many?", "answer": "She has 2+3=<<2+3=5>>5.\n#### 5"}
    assert REAL._written(row) == " How many?\n She has 2+3=5.\n The answer is 5.\n\n"
