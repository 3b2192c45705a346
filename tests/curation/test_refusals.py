"""What a teacher refuses, cuts, interrupts or says beside its text: whose fault it is, and what is asked again."""

import gzip
import json
import resource
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp")

from nap.cli import run
from nap.common.files import InputError
from nap.common.folder import digest
from nap.common.server import MAX_BYTES, Passing
from nap.curation.card import TROUBLES, Card, advice
from nap.curation.curate import Work, curate
from nap.curation.journal import FAILED, LENGTH, REFUSED, STOP, Journal, Reply, Request
from nap.curation.plan import Plan
from nap.curation.replies import read_replies
from nap.curation.teacher import DOWN_AFTER, Asking, Endpoint, ask
from nap.data.samples import read_samples
from stub_teacher import Answer, Raw, Server, stub

QUICK = Asking(concurrency=4, retries=1, backoff=0.01, timeout=20)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def requests(*prompts: str) -> list[Request]:
    return [Request(model="m", prompt=prompt) for prompt in prompts]


def settle(server: Server, path: Path, wanted: list[Request], asking: Asking = QUICK) -> list[Reply | None]:
    with Journal(path) as journal:
        ask([(Endpoint(url=server.url, model="m"), [[request] for request in wanted])], journal, asking)
        return [journal.get(request) for request in wanted]


def finishes(replies: list[Reply | None]) -> list[str | None]:
    return [reply and reply.finish for reply in replies]


def error(status: int, message: str) -> Raw:
    return Raw(status, json.dumps({"error": {"message": message}}).encode())


def prompt_of(body: dict[str, Any]) -> str:
    return body["messages"][-1]["content"]


FLAGGED = error(403, "Input was flagged")


# Whose fault a refusal is


def test_a_prompt_that_is_refused_is_that_replys_alone_and_is_asked_again_on_request_only(path: Path) -> None:
    said: list[str] = []
    wanted = requests("a", "bad", "b", "c")
    with stub(lambda body, number: FLAGGED if prompt_of(body) == "bad" else "42") as server:
        first = settle(server, path, wanted, replace(QUICK, say=said.append))
        assert finishes(first) == [STOP, REFUSED, STOP, STOP]
        assert first[1] and first[1].status == 403 and first[1].error == "403: Input was flagged"
        assert said == ['refused: "bad" (403: Input was flagged)']
        asked = len(server.asked)
        assert settle(server, path, wanted) == first and len(server.asked) == asked
    with stub(lambda body, number: "fine now") as server:
        again = settle(server, path, wanted, replace(QUICK, again=True))
        assert finishes(again) == [STOP] * 4 and [prompt_of(body) for body in server.asked] == ["bad"]


@pytest.mark.parametrize("status", [400, 403, 413, 422])
@pytest.mark.parametrize("count", [1, 3, 40])
def test_what_every_request_meets_stops_the_run_with_the_servers_words_and_settles_nothing(path, status, count) -> None:
    wanted = requests(*map(str, range(count)))
    with stub(lambda body, number: error(status, "seed is not permitted")) as server:
        with pytest.raises(InputError, match=rf"refuses every request \('{status}: seed is not permitted'\).*goes on"):
            settle(server, path, wanted)
        assert len(server.asked) <= DOWN_AFTER + QUICK.concurrency
    with stub(lambda body, number: "42") as server:
        assert finishes(settle(server, path, wanted)) == [STOP] * count


def test_the_credit_may_end_in_the_middle_and_the_same_command_goes_on_after_paying(path: Path) -> None:
    wanted = requests(*map(str, range(20)))
    with (
        stub(lambda body, number: "42" if number <= 4 else error(402, "Insufficient Balance")) as server,
        pytest.raises(InputError, match=r"402: 'Insufficient Balance'"),
    ):
        settle(server, path, wanted, replace(QUICK, concurrency=1))
    with stub(lambda body, number: "43") as server:
        replies = settle(server, path, wanted)
        assert [reply and reply.text for reply in replies] == ["42"] * 4 + ["43"] * 16


def test_no_credit_that_is_said_as_a_refusal_settles_nobody(path: Path) -> None:
    wanted = requests(*map(str, range(30)))
    with (
        stub(lambda body, number: "42" if number <= 4 else error(403, "quota")) as server,
        pytest.raises(InputError, match=r"refuses every request, even one that it answered before \('403: quota'\)"),
    ):
        settle(server, path, wanted, replace(QUICK, concurrency=1))
    with Journal(path) as journal:
        assert [reply and reply.finish for reply in map(journal.get, wanted)] == [STOP] * 4 + [None] * 26


def test_many_refused_prompts_in_a_row_are_their_own_where_an_earlier_one_is_still_answered(path: Path) -> None:
    wanted = requests("good", *(f"bad {i}" for i in range(20)))
    with stub(lambda body, number: "42" if prompt_of(body) == "good" else FLAGGED) as server:
        assert finishes(settle(server, path, wanted, replace(QUICK, concurrency=2))) == [STOP] + [REFUSED] * 20


@pytest.mark.parametrize("every", [2, 3])
def test_a_server_that_refuses_now_and_then_does_not_refuse_every_request(path: Path, every: int) -> None:
    wanted = requests(*map(str, range(37)))
    with stub(lambda body, number: "42" if number % every == 0 else error(403, "no")) as server:
        replies = settle(server, path, wanted, replace(QUICK, concurrency=1))
    assert finishes(replies).count(STOP) == 37 // every and finishes(replies).count(REFUSED) == 37 - 37 // every


def test_only_refused_prompts_may_be_left_of_a_run(path: Path) -> None:
    with stub(lambda body, number: "42" if prompt_of(body) == "good" else FLAGGED) as server:
        settle(server, path, requests("good"))
        assert finishes(settle(server, path, requests("good", "bad"))) == [STOP, REFUSED]


def test_a_404_after_a_reply_may_pass(path: Path) -> None:
    with stub(lambda body, number: error(404, "no endpoints found") if number == 3 else "42") as server:
        assert finishes(settle(server, path, requests(*"abcdef"))) == [STOP] * 6


def test_the_other_name_of_the_limit_is_learned_once_and_said(path: Path) -> None:
    said: list[str] = []
    no = error(400, "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.")
    with stub(lambda body, number: no if "max_tokens" in body else "42") as server:
        replies = settle(server, path, requests(*"abcdefgh"), replace(QUICK, say=said.append))
        assert finishes(replies) == [STOP] * 8
        assert sum("max_tokens" in body for body in server.asked) <= QUICK.concurrency
        assert {body.get("max_completion_tokens", 1024) for body in server.asked} == {1024}
    assert len(said) == 1 and "max_completion_tokens" in said[0]


def test_a_server_that_wants_neither_name_of_the_limit_stops_the_run(path: Path) -> None:
    with (
        stub(lambda body, number: error(400, "neither max_tokens nor max_completion_tokens")) as server,
        pytest.raises(InputError, match="neither max_tokens nor"),
    ):
        settle(server, path, requests("a"))


# What ends a text


def chat(content: Any, finish: Any = "stop", *, choice: Any = None, **message: Any) -> Raw:
    said = {"role": "assistant", "content": content} | message
    choices = [{"index": 0, "message": said, "finish_reason": finish} | (choice or {})]
    return Raw(200, json.dumps({"model": "m", "choices": choices}).encode())


@pytest.mark.parametrize(
    "ended", ["error", "abort", "insufficient_system_resource", None, "tool_calls", "", 7, ["stop"], "new"]
)
def test_a_text_that_ends_for_another_reason_is_asked_again_and_never_taken_for_whole(path: Path, ended: Any) -> None:
    with stub(lambda body, number: chat("half a", ended) if number == 1 else chat("whole")) as server:
        [reply] = settle(server, path, requests("P"))
        assert reply and reply.text == "whole" and len(server.asked) == 2
    with stub(lambda body, number: chat("half a", ended, choice={"error": {"message": "went away"}})) as server:
        [reply] = settle(server, path, requests("Q"))
        assert reply and (reply.text, reply.finish) == ("", FAILED)
        assert "which is not its end: went away" in reply.error


def test_a_text_beside_an_error_is_asked_again_though_it_says_stop(path: Path) -> None:
    failed = {"error": {"code": 502, "message": "went away"}}
    with stub(lambda body, number: chat("half a", choice=failed) if number == 1 else chat("whole")) as server:
        [reply] = settle(server, path, requests("P"))
        assert reply and reply.text == "whole" and len(server.asked) == 2


READ: dict[str, tuple[Raw, Reply]] = {
    "the end of a text by another name": (chat("a", "eos"), Reply(text="a")),
    "at the limit": (chat("a", "length"), Reply(text="a", finish=LENGTH)),
    "at the limit, nothing said": (chat(None, "length", reasoning_content="r"), Reply(reasoning="r", finish=LENGTH)),
    "filtered": (chat("a", "content_filter"), Reply(finish=REFUSED, error="content_filter")),
    "a refusal": (chat(None, refusal="I cannot."), Reply(finish=REFUSED, error="I cannot.")),
    "chunks": (chat([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), Reply(text="ab")),
    "thoughts in chunks": (
        chat([{"type": "thinking", "thinking": [{"type": "text", "text": "r"}]}, {"type": "text", "text": "a"}]),
        Reply(text="a", reasoning="r"),
    ),
    "reasoning among chunks": (
        chat([{"type": "reasoning", "text": "r"}, {"type": "text", "text": "a"}]), Reply(text="a", reasoning="r"),
    ),
    "reasoning in an object": (chat("a", reasoning={"content": "r"}), Reply(text="a", reasoning="r")),
    "a summary of reasoning": (
        chat("a", reasoning_details=[{"type": "reasoning.summary", "summary": "r"}, {"type": "reasoning.encrypted"}]),
        Reply(text="a", reasoning="r"),
    ),
    "reasoning beside": (chat("a", reasoning_content="r"), Reply(text="a", reasoning="r")),
    "reasoning by its other name": (chat("a", reasoning="r"), Reply(text="a", reasoning="r")),
    "reasoning in parts": (
        chat("a", reasoning=None, reasoning_details=[{"type": "reasoning.text", "text": "r"}]),
        Reply(text="a", reasoning="r"),
    ),
    "thinking": (chat("a", thinking="r"), Reply(text="a", reasoning="r")),
    "capitals": (chat("a", "STOP"), Reply(text="a")),
    "the model's limit": (chat("a", "model_length"), Reply(text="a", finish=LENGTH)),
    "Google's limit": (chat("a", "MAX_TOKENS"), Reply(text="a", finish=LENGTH)),
    "Google's filter": (chat(None, "PROHIBITED_CONTENT"), Reply(finish=REFUSED, error="prohibited_content")),
    "reasoning alone": (chat(None, reasoning_content="r"), Reply(reasoning="r")),
    "nothing": (chat(""), Reply(error="no text; the server sent nothing else")),
    "tool calls": (chat(None, tool_calls=[{"id": 1}]), Reply(error="no text; the server sent tool_calls: [{'id': 1}]")),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "reply"), READ.values(), ids=READ)
def test_what_a_server_sends_is_read_as_what_it_is(raw: Raw, reply: Reply) -> None:
    assert read_replies(json.loads(raw.body)) == [replace(reply, model="m", uncounted=True)]


@pytest.mark.parametrize("content", [7, {"a": 1}, [7], [{"type": "text", "text": 7}]])
def test_a_content_that_is_no_text_is_no_reply(content: Any) -> None:
    with pytest.raises(Passing):
        read_replies(json.loads(chat(content).body))


# What a run makes of it


def problems(tmp_path: Path, count: int = 4) -> str:
    file = tmp_path / "problems.jsonl"
    file.write_text("".join(f'{{"prompt": "What is twice {i}?", "answer": "{2 * i}"}}\n' for i in range(count)))
    return str(file)


def make(server: Server, tmp_path: Path, asking: Asking = QUICK, **changes: Any) -> Card:
    settings: dict[str, Any] = {"task": "jsonl", "data": problems(tmp_path), "models": ("m",), "paths": 2}
    settings["max_overlap"] = 1.0
    plan = Plan(**settings | changes)
    work = Work(asking=asking, backend="threads")
    return curate(plan, tmp_path / "run", [Endpoint(url=server.url, model="m")], work=work)


def double(body: dict[str, Any]) -> int:
    return 2 * int(prompt_of(body).partition("twice ")[2].partition("?")[0])


@pytest.mark.parametrize(
    ("came", "said"),
    [
        (Raw(200, b'data: {"choices": []}\n\ndata: [DONE]\n\n'), "it begins 'data: {"),
        (Raw(502, b"<html>busy</html>"), "502: <html>busy</html>"),
        (Raw(200, b""), "not a reply: it is empty"),
    ],
)
def test_where_no_reply_can_be_read_the_advice_says_what_came_and_where_the_rest_is(
    tmp_path: Path, came: Answer, said: str
) -> None:
    with stub(lambda body, number: came) as server:
        card = make(server, tmp_path, limit=2)
    told = advice(card, str(tmp_path / "run"))
    assert told.startswith("4 of 4 replies: no reply of the teacher could be read (the first: ") and said in told
    assert told.endswith(f"; all in {tmp_path}/run/refused.jsonl); the same command asks again")


def test_the_advice_says_what_a_teacher_sends_in_place_of_a_text(tmp_path: Path) -> None:
    calls = chat(None, "tool_calls", tool_calls=[{"function": {"name": "f"}}])
    for number, (came, said) in enumerate([(calls, "tool_calls"), (chat("", audio="a"), "the server sent audio"),
                                           (chat("x", "content_filter"), "content_filter")]):  # fmt: skip
        folder = tmp_path / str(number)
        folder.mkdir()
        with stub(lambda body, number, came=came: came) as server:
            told = advice(make(server, folder, limit=2), str(folder / "run"))
        assert said in told and f"all in {folder}/run/refused.jsonl" in told


def test_reasoning_is_the_start_of_a_path_unless_it_is_dropped_and_the_answer_is_the_texts(tmp_path: Path) -> None:
    def answer(body: dict[str, Any], number: int) -> Answer:
        return chat(f"So \\boxed{{{double(body)}}}.", reasoning_content=f"Perhaps \\boxed{{9}}? {number}")

    with stub(answer) as server:
        card = make(server, tmp_path)
        assert card.accuracy.used.right == 8
        for sample in read_samples(tmp_path / "run/samples.parquet"):
            assert all(path.text.startswith("Perhaps") and "\n\nSo" in path.text for path in sample.paths)
        asked = len(server.asked)
        for file in (tmp_path / "run").iterdir():
            if not file.name.startswith("journal"):
                file.unlink()
        make(server, tmp_path, reasoning="dropped", max_overlap=1.0)
        assert len(server.asked) == asked, "the journal keeps both"
        for sample in read_samples(tmp_path / "run/samples.parquet"):
            assert all(path.text.startswith("So") for path in sample.paths)


def test_reasoning_alone_is_a_path(tmp_path: Path) -> None:
    with stub(lambda body, number: chat(None, reasoning_content=f"It is \\boxed{{{double(body)}}}")) as server:
        assert make(server, tmp_path).accuracy.used.right == 8


def test_what_was_refused_failed_or_empty_is_listed_with_the_teachers_words_and_asked_again_on_request(
    tmp_path,
) -> None:
    bad: dict[int, Answer] = {0: FLAGGED, 2: chat("x", "abort"), 4: chat("", tool_calls=[1])}

    def answer(body: dict[str, Any], number: int) -> Answer:
        return bad.get(double(body)) or f"{number} \\boxed{{{double(body)}}}"

    with stub(answer) as server:
        card = make(server, tmp_path)
    assert {name: card.replies[name] for name in ("refused", "failed", "empty", "used")} == {
        "refused": 2, "failed": 2, "empty": 2, "used": 2
    }  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "run" / TROUBLES).read_text().splitlines()]
    said = {(row["finish"], row["error"]) for row in rows}
    assert len(rows) == 6 and {finish for finish, _ in said} == {REFUSED, FAILED, STOP}
    assert (REFUSED, "403: Input was flagged") in said
    with stub(lambda body, number: f"{number} \\boxed{{{double(body)}}}") as server:
        make(server, tmp_path)
        assert len(server.asked) == 2, "what failed is asked again, what was refused is not"
        card = make(server, tmp_path, replace(QUICK, again=True))
        assert len(server.asked) == 4 and card.replies["refused"] == 0


def test_a_summary_that_never_came_is_asked_again(tmp_path: Path) -> None:
    def answer(body: dict[str, Any], number: int, summaries: Answer = "") -> Answer:
        return summaries or Raw(500) if "Attempt 1" in prompt_of(body) else f"{number} \\boxed{{{double(body)}}}"

    with stub(answer) as server:
        card = make(server, tmp_path, summary="teacher", paths=1)
        assert card.problems["summary_failed"] == 4
    with stub(lambda body, number: answer(body, number, f"\\boxed{{{double(body)}}}")) as server:
        card = make(server, tmp_path, summary="teacher", paths=1)
        assert card.problems["sample"] == 4 and len(server.asked) == 4


@pytest.mark.parametrize("refused", [[0, 2], [0, 2, 4, 6]])
def test_a_refused_summary_is_said_and_listed_and_asked_again_on_request(tmp_path: Path, refused: list[int]) -> None:
    def answer(body: dict[str, Any], number: int) -> Answer:
        if "Attempt 1" in prompt_of(body):
            return chat(None, refusal="I will not.") if double(body) in refused else f"\\boxed{{{double(body)}}}"
        return f"{number} \\boxed{{{double(body)}}}"

    with stub(answer) as server:
        card = make(server, tmp_path, summary="teacher", paths=1)
        assert {"sample": 4 - len(refused), "summary_refused": len(refused), "no_summary": 0}.items() <= {
            *card.problems.items()
        }
        asked = len(server.asked)
        assert make(server, tmp_path, summary="teacher", paths=1).digest == card.digest
        assert len(server.asked) == asked
    rows = [json.loads(line) for line in (tmp_path / "run" / TROUBLES).read_text().splitlines()]
    assert [row["id"] for row in rows] == [f"jsonl-{1 + number // 2}" for number in refused]
    assert {(row["reply"], row["finish"], row["error"]) for row in rows} == {("summary", REFUSED, "I will not.")}
    told = advice(card, str(tmp_path / "run"))
    assert told.startswith(
        f"{len(refused)} problems: the teacher refused to write the summary (the first: I will not.;"
    )
    assert told.endswith("refused.jsonl); --ask-refused asks again, or choose another --summary-prompt")
    with stub(lambda body, number: f"\\boxed{{{double(body)}}}") as server:
        card = make(server, tmp_path, replace(QUICK, again=True), summary="teacher", paths=1)
        assert card.problems["sample"] == 4 and len(server.asked) == len(refused)
    assert not (tmp_path / "run" / TROUBLES).exists()


def test_a_finished_run_of_an_earlier_version_stays_finished_unless_its_summaries_are_to_be_asked_again(
    tmp_path,
) -> None:
    """Its card has no number of refused summaries, which it counted as none, and none of tokens not counted."""

    def answer(body: dict[str, Any], number: int) -> Answer:
        summary = "Attempt 1" in prompt_of(body)
        return chat(None, "content_filter") if summary and not double(body) else f"\\boxed{{{double(body)}}}"

    with stub(answer) as server:
        make(server, tmp_path, summary="teacher", paths=1)
    path = tmp_path / "run/card.json"
    found = json.loads(path.read_text())
    found["problems"]["no_summary"] = found["problems"].pop("summary_refused")
    del found["usage"]["uncounted"], found["digest"]
    found["digest"] = digest(json.dumps(found, sort_keys=True).encode())
    path.write_text(json.dumps(found))
    with stub(lambda body, number: f"\\boxed{{{double(body)}}}") as server:
        make(server, tmp_path, summary="teacher", paths=1)
        assert json.loads(path.read_text()) == found and not server.asked
        assert make(server, tmp_path, replace(QUICK, again=True), summary="teacher", paths=1).problems["sample"] == 4
        assert len(server.asked) == 1


def test_a_run_that_asks_nobody_does_not_promise_to_ask(tmp_path: Path) -> None:
    flags = ["curate", "--task", "jsonl", "--data", problems(tmp_path), "--teacher", "http://127.0.0.1:9/v1"]
    with pytest.raises(
        InputError, match=r"\(the first: not asked; .*\); without --offline the same command asks again"
    ):
        run([*flags, "--model", "m", "--offline", "--out", str(tmp_path / "run")])


# Bounds and doors


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_small_reply_that_decompresses_to_gigabytes_is_given_up_within_its_bound(path: Path, encoding: str) -> None:
    blank = b" " * 2**20
    packer = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
    bomb = b"".join([*(packer.compress(blank) for _ in range(600)), packer.flush()])
    assert len(bomb) < 2**20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with stub(lambda body, number: Raw(200, bomb, (f"Content-Encoding: {encoding}",))) as server:
        [reply] = settle(server, path, requests("P"))
    assert reply and reply.finish == FAILED and f"more than {MAX_BYTES} bytes" in reply.error
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 150, f"{grown:.0f} MiB"


def test_a_body_without_end_or_cut_in_its_compression_is_given_up(path: Path) -> None:
    cut = gzip.compress(chat("42").body)[:-12]
    answers: list[Answer] = [Raw(200, b" " * (MAX_BYTES + 1)), Raw(200, cut, ("Content-Encoding: gzip",))]
    answers += [Raw(200, b"x", ("Content-Encoding: br",)), Raw(200, b"x", ("Content-Encoding: gzip",)), "42"]
    with stub(lambda body, number: answers[number - 1]) as server:
        [reply] = settle(server, path, requests("P"), replace(QUICK, retries=4))
    assert reply and reply.text == "42"


def test_a_redirect_to_another_host_is_refused_and_one_on_the_same_host_is_followed(path: Path) -> None:
    with stub(lambda body, number: "42") as other:
        away = Raw(307, b"", (f"Location: {other.url}/chat/completions",))
        with (
            stub(lambda body, number: away) as server,
            pytest.raises(InputError, match=r"redirects to 'http://127.*which is not asked; give that address"),
        ):
            settle(server, path, requests("P"))
        assert not other.asked
    near = Raw(307, b"", ("Location: /v1/other/chat/completions",))
    with stub(lambda body, number: near if number == 1 else "42") as server:
        assert finishes(settle(server, path, requests("P"))) == [STOP]
    with stub(lambda body, number: near) as server, pytest.raises(InputError, match="redirects more than 3 times"):
        settle(server, path, requests("Q"))
