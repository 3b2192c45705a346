"""A server gives what its model gives in a folder; one that scores no prompts is refused."""

import asyncio
import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import nap.dependence.server
from nap.common.files import InputError
from nap.dependence.load import open_scorer
from nap.dependence.segments import Row, segment
from nap.dependence.seqdep import measure
from scorers import POEM

pytest.importorskip("aiohttp")


# How a server numbers its answers.
NUMBERS = {"all first": lambda index: 0, "no numbers": lambda index: None, "worded": str, "from one": lambda i: i + 1}


class Running(ThreadingHTTPServer):
    """A server of the model `lm`; `fault` makes it another server. It keeps what was asked."""

    def __init__(self, lm: Any) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lm, self.url = lm, f"http://127.0.0.1:{self.server_port}/v1"
        self.fault: str | None = None
        # (status, headers, body) of every answer to a question, whatever was asked.
        self.raw: tuple[int, dict[str, str], bytes] | None = None
        self.requests: list[dict[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    """What vLLM does with echo and logprobs, for token ids and one model."""

    server: Running  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format, *args):
        pass

    def _send(self, body, status=200, headers=()):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        names = [] if self.server.fault == "no model" else ["tiny"]
        self._send(
            {"object": "list", "data": [{"id": n, "object": "model", "created": 0, "owned_by": ""} for n in names]}
        )

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(asked)
        if self.server.raw:
            status, headers, body = self.server.raw
            return self._send(body, status, headers)
        if self.server.fault == "garbage":
            return self._send("hello")
        if self.server.fault == "error":
            return self._send({"error": {"message": "this model cannot echo"}}, 400)
        if "echo" not in asked:
            return self._send(self._drawn(asked))
        assert asked["echo"] and asked["model"] == "tiny" and self.path == "/v1/completions"
        choices = [self._choice(index, ids) for index, ids in enumerate(asked["prompt"])]
        if self.server.fault in NUMBERS:
            numbers = NUMBERS[self.server.fault]
            choices = [choice | {"index": numbers(choice["index"])} for choice in choices[::-1]]
        # A server may answer in any sequence.
        return self._send(
            {"id": "1", "object": "text_completion", "created": 0, "model": "tiny", "choices": choices[::-1]}
        )

    def _drawn(self, asked):
        """What vLLM does with n and logprobs: here every text is the same two words, and one has ended early."""
        texts = [["a", "b"][: 1 if n == 0 else 2] for n in range(asked["n"])]
        choices = [
            {"index": n, "text": "".join(text), "finish_reason": "length", "logprobs": {"tokens": text}}
            for n, text in enumerate(texts)
        ]
        if self.server.fault == "no logprobs":
            choices = [choice | {"logprobs": None} for choice in choices]
        return {"id": "1", "object": "text_completion", "created": 0, "model": "tiny", "choices": choices}

    def _choice(self, index, ids):
        with torch.no_grad():
            scores = self.server.lm(torch.tensor([ids])).logits[0].log_softmax(-1)
        known = [None, *(scores[i, token].item() for i, token in enumerate(ids[1:]))]
        every = {"holes": None, "above": 5.0, "texts": "-1", "endless": -(10**4000), "nan": float("nan")}
        written = [every[self.server.fault]] * len(known) if self.server.fault in every else known
        written = [] if self.server.fault == "no echo" else written
        logprobs = None if self.server.fault == "no logprobs" else {"token_logprobs": [*written, -1.5]}
        return {"index": index, "text": "", "finish_reason": "length", "logprobs": logprobs}


@pytest.fixture
def server(llama):
    with Running(AutoModelForCausalLM.from_pretrained(llama)) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_server_gives_what_its_model_gives_in_a_folder(llama, server, monkeypatch):
    monkeypatch.setattr(nap.dependence.server, "REQUEST", 4)
    remote, local = open_scorer(server.url, tokenizer=str(llama)), open_scorer(str(llama))
    text = segment(Row("poem", "A cat?", POEM), "lines", local.encode)
    there, here = measure(remote, text), measure(local, text)
    np.testing.assert_allclose(there.given_history, here.given_history, atol=1e-4)
    np.testing.assert_allclose(there.baseline["seqdep"], here.baseline["seqdep"], atol=1e-4)
    assert max(len(request["prompt"]) for request in server.requests) == 4


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("no model", "lists no model"),
        ("error", "cannot echo"),
        ("no echo", "must support echo"),
        ("no logprobs", "must support echo"),
        ("garbage", "0 answers to"),
        ("holes", "is no number"),
        ("above", "gave 5.0 as a log-probability, a number of at most 0"),
        ("texts", "gave '-1' as a log-probability"),
        ("endless", "gave -1000.* as a log-probability"),
        ("nan", "gave nan as a log-probability"),
        ("all first", "must be 0, 1, ... as the prompts are"),
        ("worded", "must be 0, 1, ... as the prompts are"),
        ("from one", "must be 0, 1, ... as the prompts are"),
        ("no numbers", "must be 0, 1, ... as the prompts are"),
    ],
)
def test_a_server_that_scores_no_prompts_is_refused_with_what_it_needs(llama, server, fault, said):
    server.fault = fault
    with pytest.raises(InputError, match=said):
        scorer = open_scorer(server.url, tokenizer=str(llama))
        measure(scorer, segment(Row("poem", "", POEM), "lines", scorer.encode))


def test_a_server_is_drawn_from_and_what_it_draws_is_counted(server, llama):
    from nap.dependence.sampling import sampler_of

    scorer = open_scorer(server.url, tokenizer=str(llama))
    drawn = sampler_of(scorer)((1, 2, 3), 80, 2, 5)
    assert drawn.tokens_ND.shape == (80, 2) and drawn.top_D.tolist() == [1.0, pytest.approx(78 / 80)]
    asked = [request for request in server.requests if "n" in request]
    assert [(one["n"], one["seed"], one["prompt"], one["max_tokens"]) for one in asked] == [
        (64, 5, [[1, 2, 3]], 2), (16, 69, [[1, 2, 3]], 2),
    ]  # fmt: skip
    server.fault = "no logprobs"
    with pytest.raises(InputError, match="gave 16 of 16 continuations with their tokens; it must support n"):
        sampler_of(scorer)((1,), 16, 2, 0)


def scored(scorer):
    return measure(scorer, segment(Row("poem", "", POEM), "lines", scorer.encode))


@pytest.mark.parametrize(
    "reply",
    [
        *(json.dumps(body).encode() for body in (
            5, "x", [], None, {}, {"choices": 5}, {"choices": "abc"}, {"choices": [1, None]}, {"choices": {"0": {}}},
            {"choices": [{"index": 0, "logprobs": []}] * 4}, {"choices": [{"index": 0, "logprobs": "x"}] * 4},
            {"choices": [{"index": 0, "logprobs": {"tokens": 5, "token_logprobs": {"0": 1}}}] * 4},
        )),
        b"[" * 100_000, b"\xff\xfe", b"<html>", b"",
    ],
)  # fmt: skip
def test_a_reply_that_is_none_is_one_clear_line(llama, server, monkeypatch, reply):
    from nap.dependence.sampling import sampler_of

    monkeypatch.setattr(nap.dependence.server, "PAUSE", 0)
    scorer = open_scorer(server.url, tokenizer=str(llama))
    server.raw = 200, {}, reply
    for ask in (lambda: scored(scorer), lambda: sampler_of(scorer)((1,), 16, 2, 0)):
        with pytest.raises(InputError, match=f"the server {server.url} "):
            ask()


def test_a_redirect_to_another_host_is_not_followed_and_a_small_body_does_not_grow(llama, server, monkeypatch):
    monkeypatch.setattr(nap.dependence.server, "PAUSE", 0)
    scorer = open_scorer(server.url, tokenizer=str(llama))
    with Running(server.lm) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        server.raw = 307, {"Location": f"{other.url}/completions"}, b""
        with pytest.raises(InputError, match="which is not asked; give that address if you trust it"):
            scored(scorer)
        other.shutdown()
        thread.join()
        assert not other.requests
    packed = gzip.compress(b" " * (nap.dependence.server.MOST_BYTES + 1))
    server.raw = 200, {"Content-Encoding": "gzip"}, packed
    with pytest.raises(InputError, match=f"does not answer .*more than {nap.dependence.server.MOST_BYTES} bytes"):
        scored(scorer)


def test_a_server_is_asked_from_inside_a_running_loop_as_in_a_notebook(llama, server):
    async def cell():
        return open_scorer(server.url, tokenizer=str(llama)).name

    assert asyncio.run(cell()) == server.url
