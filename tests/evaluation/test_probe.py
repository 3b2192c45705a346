"""The probe of paths: a bundled model that reads its paths is told so, kinds are left out where a task has none."""

import json
from typing import Any

import pytest

from nap.common.files import InputError
from nap.evaluation.probe import (
    GIVEN,
    NOTHING,
    OTHER,
    OWN,
    RIGHT,
    WRONG,
    Probed,
    _others_than,
    _Probe,
    findings_of,
    probe_paths,
)
from nap.evaluation.sweep import Sweep
from nap.tasks.igsm import Igsm
from tiny import QUESTION, change_json, save_tiny


def sweep(model, **changes):
    settings: dict[str, Any] = {
        "task": "arith",
        "models": (str(model),),
        "policies": ("parallel_forced",),
        "tokens_per_step": (12,),
    }
    settings |= {"problems": 4} | changes
    return Sweep(**settings)


def test_a_model_that_reads_right_paths_and_follows_others_is_found_out_and_a_second_run_does_nothing(tmp_path):
    what, seen = sweep("arith-nap"), []
    rows = probe_paths(what, tmp_path / "run", lambda done, total: seen.append((done, total)))
    assert [row.given for row in rows] == [given for given in GIVEN for _ in range(4)] and seen[-1] == (20, 20)
    by = {given: [row for row in rows if row.given == given] for given in GIVEN}
    assert all(row.correct for row in by[RIGHT])
    assert sum(bool(row.follows) for row in by[OTHER]) >= 3 and not any(
        row.follows and row.correct for row in by[OTHER]
    )
    assert all(row.follows is None and row.changed is None for row in by[OWN])
    assert any(row.changed for row in by[WRONG])
    again = probe_paths(what, tmp_path / "run", lambda done, total: pytest.fail("it was done"))
    assert again == rows


def test_a_task_without_solutions_of_its_own_is_probed_with_what_the_model_writes(tmp_path):
    model, data = save_tiny(tmp_path / "model"), tmp_path / "d.jsonl"
    data.write_text("".join(json.dumps({"id": str(n), "prompt": QUESTION, "answer": str(n)}) + "\n" for n in range(3)))
    what = sweep(model, task="jsonl", data=str(data), problems=3, tokens_per_step=(4,))
    rows = probe_paths(what, tmp_path / "run")
    assert [row.given for row in rows] == [given for given in GIVEN if given != RIGHT for _ in range(3)]


@pytest.mark.parametrize(("model", "slots"), [("igsm-longcot", 1), ("igsm-nap", 3)])
def test_right_solutions_stand_in_the_slots_as_the_model_learnt_them_and_the_wrong_value_is_one_that_a_step_says(
    model, slots
):
    what = sweep(model, task="igsm", problems=2)
    probe = _Probe.of(what, model, what.load_problems())
    words = probe.denoiser.tokenizer
    solutions = [path.text for path in Igsm().sample(0, 1, split="test").paths]
    texts = [words.decode(ids) for ids in probe._paths(RIGHT, 1)]
    for text, solution in zip(texts, [" ".join(solutions)] if slots == 1 else solutions, strict=True):
        assert text.startswith(solution) and "<pad>" not in text and text.split()[-2] == "</think"
    cut = probe._cut(1)
    assert cut
    right, wrong = (
        words.decode(canvas.ids[(canvas.region == 0) & (canvas.ids != probe.denoiser.mask_id)]) for canvas in cut
    )
    assert solutions[0].startswith(right) and right[:-1] == wrong[:-1] and right[-1] != wrong[-1]
    first = solutions[0].split(" .")[0]
    assert right.split() == first.split() and right[-1] in "0123456789"


def test_a_probe_goes_on_with_the_model_it_was_begun_with(tmp_path):
    data, folder, said = tmp_path / "d.jsonl", tmp_path / "run", list[str]()
    data.write_text("".join(json.dumps({"id": str(n), "prompt": QUESTION, "answer": str(n)}) + "\n" for n in range(2)))
    what = sweep(save_tiny(tmp_path / "model"), task="jsonl", data=str(data), problems=2, tokens_per_step=(4,))
    rows = probe_paths(what, folder)
    setting = json.loads((folder / "setting.json").read_text())
    (folder / "setting.json").write_text(json.dumps({key: setting[key] for key in setting if key != "made_of"}))
    assert probe_paths(what, folder, say=said.append) == rows
    assert len(said) == 1 and "an earlier version, which did not note what its model is made of" in said[0]
    change_json(tmp_path / "model/config.json", hidden_act="relu")
    with pytest.raises(InputError, match=r"files\.config\.json"):
        probe_paths(what, folder)


def test_rows_of_other_problems_behind_the_same_names_are_made_again(tmp_path):
    data, said = tmp_path / "d.jsonl", list[str]()

    def probed(answers: str, folder: str) -> list[Probed]:
        rows = [{"id": str(n), "prompt": QUESTION, "answer": answer} for n, answer in enumerate(answers)]
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        model = tmp_path / "model"
        what = sweep(model, task="jsonl", data=str(data), problems=2, tokens_per_step=(4,))
        return probe_paths(what, tmp_path / folder, say=said.append)

    save_tiny(tmp_path / "model")
    first = probed("12", "run")
    assert probed("12", "run") == first and not said
    # The answer of the second is what the paths of the first are told apart by.
    again = probed("13", "run")
    assert len(said) == 1 and said[0].startswith(f"{len(first)} rows of")
    assert sorted(again, key=str) == sorted(probed("13", "new"), key=str)
    assert {row.correct for row in first if row.given == WRONG} == {None}


def test_findings_count_what_is_known():
    def row(given, n, correct, **more):
        return Probed(model="m", given=given, problem_id=str(n), correct=correct, **more)

    rows = [
        row(NOTHING, 1, True), row(NOTHING, 2, False), row(OTHER, 1, False, follows=True),
        row(WRONG, 1, True, changed=True, moved=False), row(WRONG, 2, None),
    ]  # fmt: skip
    found = {one.given: (one.yes, one.of) for one in findings_of(rows)}
    assert found["over nothing"] == (1, 2) and found["gives the other's answer"] == (1, 1)
    assert found["a wrong value: what follows changes"] == (1, 1)
    assert found["a wrong value: the answer changes"] == (0, 1)
    # Nothing was asked of the second, whose path could not be cut.
    assert found["over wrong value"] == (1, 1)
    assert "over right" not in found
    assert str(findings_of(rows)[0]) == "50 [9, 91]"


@pytest.mark.parametrize(("value", "first"), [(0, 1), (8, 9), (9, 8), (10, 9), (12, 11), (99, 98), (100, 99)])
def test_beside_a_value_is_one_of_as_many_digits(value, first):
    others = _others_than(value)
    assert others[0] == first and {len(str(value))} & {len(str(other)) for other in others}


def test_what_cannot_be_probed_is_refused(tmp_path):
    with pytest.raises(InputError, match="answer of task 'grids' is in the paths themselves"):
        probe_paths(sweep("arith-nap", task="grids"), tmp_path / "a")
    one = tmp_path / "one.jsonl"
    one.write_text("".join(json.dumps({"id": str(n), "prompt": QUESTION, "answer": "8"}) + "\n" for n in range(2)))
    model = save_tiny(tmp_path / "model")
    with pytest.raises(InputError, match="all problems have one answer"):
        probe_paths(sweep(model, task="jsonl", data=str(one), problems=2), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_the_command_prints_a_line_for_each_kind(tmp_path, capsys):
    from nap.commands.evaluate import Eval

    data = tmp_path / "d.jsonl"
    data.write_text("".join(json.dumps({"id": str(n), "prompt": QUESTION, "answer": str(n)}) + "\n" for n in range(2)))
    options: dict[str, Any] = {
        "models": (str(save_tiny(tmp_path / "model")),),
        "task": "jsonl",
        "data": str(data),
        "problems": 2,
    }
    options |= {"tokens_per_step": (8,)}
    Eval(**options, policies=("low_confidence",), probe="paths", out=str(tmp_path / "run"), json=True).run()
    found = json.loads(capsys.readouterr().out)
    assert {one["given"] for one in found} >= {f"over {given}" for given in (NOTHING, OWN, OTHER)}
    Eval(**options, policies=("low_confidence",), probe="paths", out=str(tmp_path / "run")).run()
    assert "over nothing" in capsys.readouterr().out
