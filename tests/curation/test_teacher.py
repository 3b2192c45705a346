"""The teacher's client against a server that answers as servers do: late, full, wrong, garbled, or not at all."""

import asyncio
import gc
import gzip
import re
import shutil
import ssl
import subprocess
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp")

from nap.common.files import InputError
from nap.common.server import read_body, retry_after
from nap.curation import teacher
from nap.curation.journal import FAILED, LENGTH, REFUSED, STOP, Journal, Reply, Request
from nap.curation.teacher import MOMENT, SPREAD, Asking, Endpoint, _Client, ask
from nap.tasks.marks import MAX_TEXT
from stub_teacher import Answer, Raw, Said, Server, stub

QUICK = Asking(concurrency=4, retries=2, backoff=0.01, timeout=5)


def requests(count: int, **settings) -> list[Request]:
    return [Request(model="m", prompt=f"Problem {n}", **settings) for n in range(count)]


def settle(server: Server, path: Path, wanted: list[Request], asking: Asking = QUICK, **endpoint) -> list[Reply | None]:
    with Journal(path) as journal:
        teacher = Endpoint(**{"url": server.url, "model": "m"} | endpoint)
        ask([(teacher, [[request] for request in wanted])], journal, asking)
        return [journal.get(request) for request in wanted]


def texts(replies: list[Reply | None]) -> list[str]:
    return [reply.text if reply else "" for reply in replies]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def test_each_request_is_asked_once_with_its_settings_and_never_again(path: Path) -> None:
    wanted = requests(20, temperature=0.7, top_p=0.9, max_tokens=77, seed=5)
    with stub(lambda body, number: body["messages"][0]["content"]) as server:
        first = settle(server, path, wanted)
        assert texts(first) == [request.prompt for request in wanted]
        assert settle(server, path, wanted) == first
        assert len(server.asked) == 20
        sent = {name: server.asked[0][name] for name in ("model", "temperature", "top_p", "max_tokens", "seed")}
    assert sent == {"model": "m", "temperature": 0.7, "top_p": 0.9, "max_tokens": 77, "seed": 5}
    # The journal needs no server: it is gone, and there is nothing to ask.
    assert settle(server, path, wanted) == first


def test_as_many_requests_are_in_flight_as_allowed_and_no_more(path: Path) -> None:
    with stub(latency=0.05) as server:
        settle(server, path, requests(40), Asking(concurrency=8))
    assert server.most == 8


def test_requests_a_minute_are_limited(path: Path) -> None:
    started = time.monotonic()
    with stub() as server:
        settle(server, path, requests(6), Asking(concurrency=6, per_minute=600))
    assert time.monotonic() - started >= 0.5


PASSING: dict[str, Answer] = {
    "429": Raw(429, b'{"error": {"message": "slow down"}}'),
    "500": Raw(500, b"oops"),
    "503": Raw(503, b"<html>busy</html>"),
    "not JSON": Raw(200, b"<html>welcome</html>"),
    "other JSON": Raw(200, b'{"choices": []}'),
    "a list": Raw(200, b"[1, 2]"),
    "no text": Raw(200, b'{"choices": [{"message": {"content": 7}}]}'),
    "half a reply": Raw(200, b'{"choices": [{"message": {"content": "42"}}]}', cut=True),
    "deep": Raw(200, b"[" * 100_000),
}


@pytest.mark.parametrize("bad", PASSING.values(), ids=PASSING)
def test_what_may_pass_is_tried_again(path: Path, bad: Answer) -> None:
    with stub(lambda body, number: bad if number % 2 else "42") as server:
        replies = settle(server, path, requests(1))
    assert texts(replies) == ["42"]
    assert len(server.asked) == 2


def test_a_pause_that_the_server_asks_for_is_kept_by_all(path: Path) -> None:
    busy = Raw(429, b"{}", ("Retry-After: 0.4",))
    times = []

    def answer(body, number) -> Answer:
        times.append(time.monotonic())
        return busy if number == 1 else "42"

    with stub(answer) as server:
        settle(server, path, requests(3), Asking(concurrency=1, backoff=0))
    assert times[1] - times[0] >= 0.4


def test_a_pause_may_be_a_date_or_a_number_with_decimals_and_what_is_neither_is_none(monkeypatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 784111770.0)
    pauses = {"2": 2, "1.5": 1.5, "1.5s": 1.5, "Sun, 06 Nov 1994 08:49:37 GMT": 7, "06 Nov 1994 08:49:37 +0000": 7}
    others = "", "-1", "nan", "1e999", "soon", "Sun, 06 Nov 1994 08:49:00 GMT", "Sun, 99 Nov 99999999999 08:49:37 GMT"
    for said, seconds in {**pauses, **dict.fromkeys(others)}.items():
        assert retry_after({"retry-after": said}) == seconds


@pytest.mark.parametrize(
    ("encoding", "window"), [("deflate", -15), ("deflate", 15), ("x-gzip", 31), ("GZIP", 31), ("deflate", 31)]
)
def test_a_compressed_reply_is_read_with_any_header_in_pieces_of_any_size(path: Path, encoding, window) -> None:
    whole, packer = (
        b'{"choices": [{"message": {"content": "42"}, "finish_reason": "stop"}]}',
        zlib.compressobj(wbits=window),
    )
    body = packer.compress(whole) + packer.flush()
    with stub(lambda asked, number: Raw(200, body, (f"Content-Encoding: {encoding}",))) as server:
        assert texts(settle(server, path, requests(1))) == ["42"]

    async def pieces():
        for start in range(len(body)):
            yield body[start : start + 1]

    assert asyncio.run(read_body(pieces(), encoding.lower())) == whole


def test_a_long_pause_is_said_and_one_of_a_year_is_none(path: Path, monkeypatch) -> None:
    monkeypatch.setattr(teacher, "NOTICED", 0.1)
    monkeypatch.setattr(teacher, "LONGEST_PAUSE", 0.4)
    busy, said = Raw(429, b"{}", ("Retry-After: 31536000",)), []
    with stub(lambda body, number: busy if number == 1 else "42") as server:
        replies = settle(server, path, requests(1), Asking(concurrency=1, backoff=0, say=said.append))
    assert texts(replies) == ["42"] and said == [f"{server.url} asks for a pause: waiting 0 s"]


def test_a_reply_that_is_too_slow_is_given_up(path: Path) -> None:
    with stub(latency=2) as server:
        [reply] = settle(server, path, requests(1), Asking(timeout=0.1, retries=1, backoff=0))
    assert reply == Reply(finish=FAILED, error="no reply within 0.1 s")


def test_a_failed_request_is_asked_again_by_the_next_run(path: Path) -> None:
    with stub(lambda body, number: PASSING["500"] if number <= 3 else "42") as server:
        [failed] = settle(server, path, requests(1))
        assert failed and failed.finish == FAILED and "500" in failed.error
        assert texts(settle(server, path, requests(1))) == ["42"]


def test_cut_empty_filtered_and_endless_replies_are_what_they_are(path: Path) -> None:
    said = {
        "Problem 0": Said("so far", "length"), "Problem 1": Said(None), "Problem 2": Said("x", "content_filter"),
        "Problem 3": Said("9" * 1_000_000),
    }  # fmt: skip
    with stub(lambda body, number: said[body["messages"][0]["content"]]) as server:
        replies = settle(server, path, requests(4))
    assert [reply.finish for reply in replies if reply] == [LENGTH, STOP, REFUSED, LENGTH]
    assert [len(text) for text in texts(replies)] == [6, 0, 0, MAX_TEXT]


def test_several_samples_come_in_one_call_where_the_server_can(path: Path) -> None:
    wanted = [Request(model="m", prompt="P", index=index) for index in range(4)]
    together = Asking(concurrency=4, together=True)
    with stub(lambda body, number: "42") as server, Journal(path) as journal:
        ask([(Endpoint(url=server.url, model="m"), [wanted])], journal, together)
        assert [body.get("n") for body in server.asked] == [4]
        assert all(journal.settled(request) for request in wanted)
        replies = [journal.get(request) or Reply() for request in wanted]
        assert sum(reply.completion_tokens for reply in replies) == 44, "usage is counted once"


@pytest.mark.parametrize("filtered", [(0,), (1,), (0, 1, 2)])
def test_the_tokens_of_a_call_are_counted_whichever_of_its_choices_are_filtered(path: Path, filtered) -> None:
    groups = [[Request(model="m", prompt=f"P{n}", index=index) for index in range(3)] for n in range(2)]
    choices = [0]

    def answer(body, number) -> Answer:
        choices[0] = (choices[0] + 1) % body.get("n", 1)
        return Said("x", "content_filter" if "n" in body and (choices[0] - 1) % 3 in filtered else "stop")

    with stub(answer) as server, Journal(path) as journal:
        ask([(Endpoint(url=server.url, model="m"), groups)], journal, Asking(concurrency=1, together=True))
        replies = [journal.get(request) or Reply() for group in groups for request in group]
        assert [body.get("n", 1) for body in server.asked] == [3, *(1 for _ in filtered)] * 2
    assert [reply.finish for reply in replies] == [STOP] * 6
    assert sum(reply.prompt_tokens for reply in replies) == 7 * len(server.asked)
    assert sum(reply.completion_tokens for reply in replies) == 11 * 2 * (3 + len(filtered))


def test_a_server_that_ignores_n_is_asked_one_by_one(path: Path) -> None:
    groups = [[Request(model="m", prompt=f"P{n}", index=index) for index in range(3)] for n in range(5)]
    with stub(lambda body, number: f"{number}", many=False) as server, Journal(path) as journal:
        ask([(Endpoint(url=server.url, model="m"), groups)], journal, Asking(concurrency=1, together=True))
        assert all(journal.settled(request) for group in groups for request in group)
    assert sum("n" in body for body in server.asked) == 1
    assert len(server.asked) == 15


def test_several_endpoints_share_one_journal(path: Path) -> None:
    with stub(lambda body, number: "a") as a, stub(lambda body, number: "b") as b, Journal(path) as journal:
        work = [(Endpoint(url=s.url, model=m), [[Request(model=m, prompt="P")]]) for s, m in ((a, "one"), (b, "two"))]
        ask(work, journal, QUICK)
        found = [journal.get(Request(model=model, prompt="P")) for model in ("one", "two")]
    assert texts(found) == ["a", "b"]


def test_a_teacher_that_is_not_there_or_goes_down_is_named(path: Path) -> None:
    with pytest.raises(InputError, match=r"no teacher answers at http://127.0.0.1:9/v1"):
        settle(Server(url="http://127.0.0.1:9/v1"), path, requests(1))
    with stub(lambda body, number: "42" if number < 5 else PASSING["500"]) as server:
        with pytest.raises(InputError, match=r"failed 8 requests in a row.*the same command goes on"):
            settle(server, path, requests(100), Asking(concurrency=2, retries=0, backoff=0))
        assert len(server.asked) < 20


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Raw(401, b'{"error": {"message": "bad key"}}'), r"refuses the key \(401: 'bad key'\); set OPENAI_API_KEY"),
        (
            Raw(402, b'{"error": {"message": "Insufficient Balance"}}'),
            r"wants to be paid \(402: 'Insufficient Balance'\)",
        ),
        (Raw(404, b'{"error": {"message": "no m"}}'), r"has no such address or model \(404: 'no m'\)"),
        (Raw(200, b'{"error": {"code": 402, "message": "add credits"}}'), r"wants to be paid \(402: 'add credits'\)"),
    ],
)
def test_a_key_or_model_that_is_refused_ends_the_run_at_once(path: Path, answer: Raw, said: str) -> None:
    with stub(lambda body, number: answer) as server:
        with pytest.raises(InputError, match=said):
            settle(server, path, requests(100))
        assert len(server.asked) <= QUICK.concurrency


def test_a_model_that_is_not_listed_is_asked_once_and_the_servers_answer_is_believed(path: Path) -> None:
    said: list[str] = []
    asking = replace(QUICK, say=said.append)
    with stub(lambda body, number: Raw(404, b'{"error": "no such"}'), models=["qwen-1.5b"]) as server:
        with pytest.raises(InputError, match=r"404: 'no such'.* has no 'qwen-15b': did you mean 'qwen-1.5b'"):
            settle(server, path, requests(20), asking, model="qwen-15b")
        assert len(server.asked) == 1
    with stub(lambda body, number: "42", models=["qwen3:latest"]) as server:
        assert texts(settle(server, path, requests(5), asking, model="qwen3")) == ["42"] * 5
    assert len(said) == 2 and "did you mean 'qwen3:latest'?; it is asked all the same" in said[1]


@pytest.mark.parametrize(("usual", "least"), [(0.0, 0.0), (0.05, 49 * SPREAD * 0.001), (60.0, 49 * MOMENT)])
def test_calls_are_spread_over_the_time_that_one_takes_but_by_no_more_than_a_moment(
    path: Path, usual: float, least: float
) -> None:
    async def last_turn() -> float:
        with Journal(path) as journal:
            client = _Client(
                Endpoint(url="http://h/v1", model="m"), journal, Asking(concurrency=50), lambda asked: None
            )
            client.usual, started = usual, asyncio.get_running_loop().time()
            await asyncio.gather(*(client._turn() for _ in range(50)))
            await client.close()
            return client.next_at - started

    assert least <= asyncio.run(last_turn()) < least + 5


def test_replies_may_come_in_chunks_and_compressed(path: Path) -> None:
    body = gzip.compress(b'{"choices": [{"message": {"content": "42"}, "finish_reason": "stop"}]}')
    parts = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:9], body[9:], b""))
    headers = ("Content-Encoding: gzip", "Transfer-Encoding: chunked")
    with stub(lambda body, number: Raw(200, parts, headers, sized=False)) as server:
        assert texts(settle(server, path, requests(3))) == ["42"] * 3


def test_a_connection_is_used_again(path: Path) -> None:
    with stub() as server:
        settle(server, path, requests(20), Asking(concurrency=2))
    assert server.connections == 2


def test_a_proxy_of_the_environment_is_used_but_where_it_says_not(path: Path, monkeypatch) -> None:
    with stub(lambda body, number: "42") as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        assert texts(settle(Server(url="http://teacher.invalid/v1"), path, requests(1))) == ["42"]
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with stub(lambda body, number: "43") as server:
            assert texts(settle(server, path, [Request(model="m", prompt="other")])) == ["43"]
    assert len(proxy.asked) == 1


def test_a_teacher_behind_tls_is_trusted_by_its_certificate_only(path: Path, monkeypatch, tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    if not shutil.which("openssl"):
        pytest.skip("no openssl to make a certificate with")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=teacher", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with stub(lambda body, number: "42", tls=context) as server:
        with pytest.raises(InputError, match=r"(?i)certificate"):
            settle(server, path, requests(1))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert texts(settle(server, path, requests(1))) == ["42"]


@pytest.mark.parametrize(
    "url", ["localhost:8080", "ftp://h/v1", "http://", "http://h:x/v1", "http://[::1/v1", "http://h..x/v1"]
)
def test_what_is_no_address_is_named(path: Path, url: str) -> None:
    with pytest.raises(InputError, match="is no address of a server"):
        settle(Server(url=url), path, requests(1))


@pytest.mark.parametrize("url", ["http://me:secret@127.0.0.1:9/v1", "http://me:secret@h:x/v1", "me:secret@h/v1"])
def test_a_password_in_an_address_is_refused_and_not_shown(path: Path, url: str) -> None:
    with pytest.raises(InputError, match=r"\.\.\.@(127|h)") as refused:
        settle(Server(url=url), path, requests(1))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("key", ["secret\nx", "secret\x07", "secret\u201d"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(path: Path, monkeypatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with stub() as server, pytest.raises(InputError, match="the key in OPENAI_API_KEY has a line break") as refused:
        settle(server, path, requests(1))
    assert not server.asked and "secret" not in str(refused.value)


def test_where_a_second_address_is_refused_the_connections_of_the_first_are_closed(path: Path, capfd) -> None:
    with stub() as server, Journal(path) as journal, pytest.raises(InputError, match="is no address"):
        ask([(Endpoint(url=url, model="m"), []) for url in (server.url, "http://h..x/v1")], journal, QUICK)
    gc.collect()
    assert "Unclosed" not in capfd.readouterr().err


def test_an_address_may_end_in_a_query(path: Path) -> None:
    with stub(lambda body, number: "42") as server:
        assert texts(settle(server, path, requests(1), url=f"{server.url}/?api-version=1")) == ["42"]
        assert server.paths == ["/v1/models?api-version=1", "/v1/chat/completions?api-version=1"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/v1?key=secret", "ftp://h?key=secret", "http://h..x/v1?key=secret"])
def test_no_message_shows_the_query_of_an_address(path: Path, url: str) -> None:
    with Journal(path) as journal, pytest.raises(InputError, match=re.escape(url.partition("?")[0])) as error:
        ask([(Endpoint(url=url, model="m"), [requests(1)])], journal, QUICK)
    assert "secret" not in str(error.value)


def test_bad_settings_are_named() -> None:
    wrong: list[dict[str, Any]]
    wrong = [{"concurrency": 0}, {"retries": -1}, {"timeout": 0}, {"timeout": float("nan")}, {"backoff": -1},
             {"timeout": float("inf")}, {"backoff": float("inf")}, {"backoff": float("nan")}]  # fmt: skip
    for settings in wrong:
        with pytest.raises(InputError, match=next(iter(settings))):
            Asking(**settings)
