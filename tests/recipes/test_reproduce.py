"""recipes/reproduce.py trains both arms anew, goes on where it was, and says which figures are the stored ones."""

import json
import shutil
import subprocess
import sys

import pytest

from nap.common.files import InputError
from tiny import RECIPES, environment, recipe

sys.path.insert(0, str(RECIPES))
STUDY, REPRODUCE = recipe("study"), recipe("reproduce")
SETTINGS = [(policy, f"{pace}/step") for policy in STUDY.DECODERS for pace in (1, 4)]


def rows(right, policy="low_confidence", pace="4/step"):
    columns = dict.fromkeys(STUDY.COLUMNS, 1.0) | {"policy": policy, "pace": pace}
    return [columns | {"index": index, "correct": bool(one)} for index, one in enumerate(right)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A checkout whose study says that two steps solve every third problem, of one seed and every second of another."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "recipes").symlink_to(RECIPES)
    study = folder / "docs/study"
    study.mkdir(parents=True)
    for arm in ("long", "nap"):
        for seed, every in enumerate((3, 2)):
            model = STUDY.Model(task="countdown", arm=arm, seed=seed)
            found = [row for setting in SETTINGS for row in rows([index % every == 0 for index in range(6)], *setting)]
            STUDY.write_results(model, study / f"countdown-{arm}-{seed}.parquet", found, {"steps": 2, "problems": 6})
    return folder


def reproduce(clone, *more):
    command = [sys.executable, clone / "recipes/reproduce.py", "--problems", "6", "--json", *more]
    # Compiling takes longer than all the rest.
    env = environment(TORCHDYNAMO_DISABLE="1")
    return subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True)


def test_it_trains_decodes_and_compares_and_then_is_done(clone):
    first = reproduce(clone)
    assert first.returncode == 0, first.stderr
    figures = json.loads(first.stdout)["figures"]
    assert [(one["what"], one["policy"], one["pace"]) for one in figures] == [
        (what, *setting) for setting in SETTINGS for what in ("long", "nap", "nap - long")
    ]
    accuracies = [one for one in figures if one["what"] != "nap - long"]
    assert all(one["stored"] == pytest.approx([1 / 3, 1 / 2]) for one in accuracies)
    assert all(one["now"] == 0 for one in accuracies), "two steps solve none"
    assert all(one["stored"] == [0, 0] and one["same"] for one in figures if one["what"] == "nap - long")
    assert first.stderr.splitlines()[-1].startswith("long 100 %, nap 100 % done")
    made = clone / "runs/reproduce/nap"
    assert json.loads((made / "final/training.json").read_text())["steps"] == 2
    (clone / "runs/reproduce/nap.parquet").unlink()
    before = (made / "final/model.safetensors").stat().st_mtime_ns
    again = reproduce(clone)
    assert again.stdout == first.stdout and "long" not in again.stderr, "what is done is not done again"
    assert (made / "final/model.safetensors").stat().st_mtime_ns == before
    refused = reproduce(clone, "--problems", "5")
    assert refused.returncode == 2 and "another setting (problems 6, now 5)" in refused.stderr


def side(long, nap):
    return {"long": REPRODUCE.Rows({}, rows(long)), "nap": REPRODUCE.Rows({}, rows(nap))}


def test_what_another_seed_would_not_give_differs():
    stored = [side([1, 0] * 50, [1] * share + [0] * (100 - share)) for share in (78, 80, 82)]
    long, nap, gap = REPRODUCE.compare(stored, side([1, 0] * 50, [1] * 75 + [0] * 25), 100)
    assert long.stored == [0.5] * 3 and long.expected.low == long.expected.high == 0.5 and long.same
    # t of two degrees is 4.303: .80 +- 4.303 * .02 * sqrt(4 / 3)
    assert (nap.expected.low, nap.expected.high) == pytest.approx((0.7006, 0.8994), abs=1e-4)
    assert nap.now == 0.75 and nap.same and gap.same and gap.now == 0.25
    _, nap, gap = REPRODUCE.compare(stored, side([1, 0] * 50, [1] * 50 + [0] * 50), 100)
    assert not nap.same and not gap.same and gap.interval.low <= gap.now <= gap.interval.high


def test_where_an_arm_stands(tmp_path):
    assert REPRODUCE.share_done(tmp_path, 500) == 0
    for step in (100, 250):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}/trainer_state.json").write_text("{}")
    assert REPRODUCE.share_done(tmp_path, 500) == pytest.approx(0.425)
    for name in ("final", "decoders"):
        (tmp_path / name).mkdir()
    (tmp_path / "final/training.json").write_text("{}")
    setting = {"policies": ["a", "b"], "tokens_per_step": [1], "problems": 10}
    (tmp_path / "decoders/setting.json").write_text(json.dumps(setting))
    (tmp_path / "decoders/journal.jsonl").write_text("{}\n" * 10)
    assert REPRODUCE.share_done(tmp_path, 500) == pytest.approx(0.925)


def test_what_it_needs_is_named(clone, tmp_path):
    with pytest.raises(InputError, match=r"docs/study has 0 seeds of arith, where two at least are needed"):
        REPRODUCE.again("arith", 6, tmp_path / "run", clone / "docs/study")
    with pytest.raises(InputError, match="problems must be 2 to 6"):
        REPRODUCE.again("countdown", 7, tmp_path / "run", clone / "docs/study")


def test_an_arm_that_fails_is_named_with_its_last_words(clone, tmp_path, monkeypatch):
    shutil.copytree(clone / "docs", tmp_path / "docs")
    (tmp_path / "reproduce_arm.py").write_text("import sys; sys.exit('no such thing')")
    monkeypatch.setattr(REPRODUCE, "__file__", str(tmp_path / "reproduce.py"))
    with pytest.raises(InputError, match=r"arm long ended with code 1 \(no such thing\); .*long.log says more"):
        REPRODUCE.again("countdown", 6, tmp_path / "run", tmp_path / "docs/study")
