"""Decoding on the way: it changes no loss, finds what nap eval finds, and what could not decode is refused at once."""

from dataclasses import replace
from statistics import fmean

import pytest
from test_finetune import WATCH, job, losses_of, metrics_of, place, quiet, whole

from nap.common.files import InputError
from nap.data.trace_files import read_traces
from nap.decoding.guides import fingerprint
from nap.decoding.influence import Influence, InfluenceSetting, save_influence
from nap.evaluation.run import run_sweep
from nap.evaluation.sweep import Sweep
from nap.models.load import load
from nap.training.finetune import fine_tune

__all__ = ["place", "whole"]


def test_decoding_on_the_way_changes_no_loss(place, tmp_path, whole):
    watch = replace(WATCH, eval_task="arith", eval_every=2, eval_problems=1, eval_tokens_per_step=24)
    fine_tune(job(place), tmp_path / "run", watch, quiet)
    assert losses_of(tmp_path / "run") == losses_of(whole)
    rows = [row for row in metrics_of(tmp_path / "run") if "accuracy" in row]
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert all(row["accuracy"] in (0, 1) and row["problems"] == 1 and row["tpf"] > 4 for row in rows)


@pytest.mark.parametrize("policy", ["parallel_forced", "threshold:tau=0.3", "parallel_threshold:tau=0.3,agree=0.3"])
def test_decoding_on_the_way_finds_what_nap_eval_finds(place, tmp_path, policy):
    paced = {"eval_tokens_per_step": 24} if policy == "parallel_forced" else {}
    watch = replace(WATCH, eval_task="arith", eval_every=6, eval_problems=3, eval_policy=policy, **paced)
    final = fine_tune(job(place), tmp_path / "run", watch, quiet)
    (row,) = [row for row in metrics_of(tmp_path / "run") if "accuracy" in row]
    asked = Sweep(
        task="arith", models=(str(final),), policies=(policy,), problems=3, tokens_per_step=(24,) if paced else ()
    )
    found = run_sweep(asked, tmp_path / "eval")
    assert row["accuracy"] == fmean(one.correct for one in found)
    assert row["tpf"] == pytest.approx(fmean(one.tpf or 0 for one in found))
    traces = [*read_traces(tmp_path / "eval/traces.jsonl")]
    assert row["tpf"] < sum(len(trace.events) for trace in traces) / sum(trace.forwards for trace in traces)


@pytest.mark.parametrize(
    ("watch", "said"),
    [
        ({"eval_policy": "parallel_forced:agree=0.5", "eval_task": "jsonl"}, "nothing here reads the answer of a path"),
        ({"eval_policy": "threshold", "eval_tokens_per_step": 4}, "sets its own pace; drop tokens per step"),
        ({"eval_policy": "threshold:tau=2"}, "tau"),
    ],
    ids=str,
)
def test_a_policy_that_could_not_decode_is_refused_before_the_first_step(place, tmp_path, watch, said):
    (tmp_path / "problems.jsonl").write_text('{"question": "Ann has 5 pears .", "answer": "5"}\n')
    data = str(tmp_path / "problems.jsonl") if watch.get("eval_task") == "jsonl" else ""
    usual = {"eval_task": "arith", "eval_every": 3, "eval_problems": 1, "eval_data": data}
    asked = replace(WATCH, **usual | watch)
    with pytest.raises(InputError, match=said):
        fine_tune(job(place), tmp_path / "run", asked, quiet)
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_a_guide_that_knows_one_model_is_refused_for_one_in_training(place, tmp_path):
    model = load(str(place / "model"))
    (tmp_path / "guide").mkdir()
    save_influence(Influence(InfluenceSetting(model=fingerprint(model), states=16, width=8)), tmp_path / "guide")
    asked = replace(
        WATCH, eval_task="arith", eval_every=3, eval_problems=1, eval_policy=f"demask:guide={tmp_path}/guide"
    )
    with pytest.raises(InputError, match=r"'demask.*' has a second model, .* and a model in training becomes another"):
        fine_tune(job(place), tmp_path / "run", asked, quiet)
