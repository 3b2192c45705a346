"""recipes/editor.py says of each way to write how it does beside the editor, and what it cannot train on."""

from types import SimpleNamespace

import pytest

from nap.common.files import InputError
from tiny import recipe

EDITOR = recipe("editor")


def test_a_line_has_the_accuracy_the_forwards_and_a_paired_test_against_the_editor():
    draft = EDITOR.Line(name="draft", solved=[True] * 6 + [False] * 4, forwards=12.04)
    editor = EDITOR.Line(name="editor", solved=[False, *[True] * 9], forwards=10.0)
    assert draft.said(editor) == ("draft: right 6 of 10 [31, 83], 12.0 forwards; alone 1, the editor alone 4, p 0.38")
    assert editor.said(None) == "editor: right 9 of 10 [60, 98], 10.0 forwards"


def test_a_task_without_samples_is_refused(tmp_path):
    with pytest.raises(InputError, match="'jsonl' has no samples of its own; train on a file: nap train"):
        EDITOR.trained(SimpleNamespace(task="jsonl", model="arith-nap", out=tmp_path))
