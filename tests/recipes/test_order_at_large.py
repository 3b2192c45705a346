"""Order at large: what can run, whose answers are right, and the table of what has run."""

import json

import pytest

from nap.data.trace import COMMIT
from samples import trace_of
from tiny import recipe

PLACES = [(0, COMMIT, 4, 3), (1, COMMIT, 5, 4), (1, COMMIT, 6, 5), (2, COMMIT, 7, 6)]


@pytest.fixture(scope="module")
def large():
    return recipe("order_at_large")


def test_every_group_of_the_paper_has_benchmarks_and_each_is_named_once(large):
    assert [*large.GROUPS] == ["knowledge", "math", "reasoning", "language understanding", "agentic", "coding"]
    names = [name for named in large.GROUPS.values() for name in named]
    tasks = [task for named in large.GROUPS.values() for task in named.values() if task]
    assert len({*names}) == len(names) and len({*tasks}) == len(tasks) == len(large.known()) and len(large.MODELS) == 8
    assert f"{len(tasks)} of the {len(names)} named here can run; the paper has 58" in large.listed()


def test_an_answer_is_right_where_the_first_plain_metric_says_so(large):
    samples = {
        "a": [
            {"doc_id": 0, "metrics": ["exact_match"], "exact_match": 1.0},
            {"doc_id": 1, "metrics": ["bleu", "acc"], "bleu": 0.4, "acc": 0},
            {"doc_id": 2, "metrics": ["f1"], "f1": 0.5},
        ],
        "b": [{"doc_id": 0, "metrics": []}],
    }
    assert large.verdicts(samples) == {"a/0": True, "a/1": False}
    traces = [trace_of(PLACES, problem_id=name) for name in ("a/0/0", "a/1/0", "a/2/0")]
    assert [trace.correct for trace in large.judged(traces, large.verdicts(samples))] == [True, False, None]


def test_the_table_has_a_line_for_what_has_run(large, tmp_path):
    traces = [trace_of(PLACES, problem_id="a", correct=True), trace_of(PLACES[::-1], problem_id="b", correct=False)]
    traces[1] = trace_of([(2 - step, kind, place, token) for step, kind, place, token in PLACES[::-1]], correct=False)
    told = {"model": "m", "benchmark": "gsm8k", "policy": "ar", "order": large.order_of_answers(traces)}
    (tmp_path / "m-gsm8k").mkdir()
    (tmp_path / "m-gsm8k/order.json").write_text(json.dumps(told))
    header, _, line = large.page(tmp_path).splitlines()
    assert header.startswith("| model | benchmark |")
    # Four tokens in three finalising steps; one from the left, one from the right.
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:6] == ["m", "gsm8k", "2", "50.0", "1.33", "0.00"]
    assert cells[7:] == [cells[7], "1.33 / 1.33", "0.91 / -0.91"]


@pytest.mark.filterwarnings("ignore")
def test_a_model_is_run_by_the_harness_on_a_local_task(large, tmp_path, monkeypatch, capsys):
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed: pip install 'nap-dlm[harness]'")
    (tmp_path / "rows.jsonl").write_text('{"q": "Ann has 5 pears . How many has Ann ?", "a": "5"}\n' * 3)
    (tmp_path / "mine.yaml").write_text(
        f"task: mine\ndataset_path: json\ndataset_kwargs:\n  data_files: {tmp_path}/rows.jsonl\ntest_split: train\n"
        "output_type: generate_until\ndoc_to_text: '{{q}}'\ndoc_to_target: '{{a}}'\n"
        "generation_kwargs:\n  until: [' ']\nmetric_list:\n  - metric: exact_match\n"
    )
    arguments = ["order_at_large", "--models", "arith-nap", "--benchmarks", "mine", "--tasks-from", str(tmp_path),
                 "--canvas", "own", "--policy", "parallel_threshold", "--out", str(tmp_path / "out")]  # fmt: skip
    monkeypatch.setattr("sys.argv", arguments)
    assert large.main() == 0
    table = capsys.readouterr().out
    assert "| arith-nap | mine | 3 |" in table
    assert (tmp_path / "out/arith-nap-mine/traces.jsonl").exists()
    # And it is not run again.
    monkeypatch.setattr(large, "run", lambda *_: pytest.fail("run again"))
    assert large.main() == 0 and capsys.readouterr().out == table
