"""The server: the same tokens as `nap.decode`, to any client of OpenAI's API, whoever else asks meanwhile."""

import asyncio
import io
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nap.canvas.canvas import CanvasSpec, layout, parse
from nap.common.files import InputError
from nap.data.trace_files import trace_from_row
from nap.decoding.budget import Budget, Sampling
from nap.decoding.decode import decode, decode_traces
from nap.decoding.policies.ordered import LowConfidence
from nap.decoding.policies.policy import Selecting
from nap.decoding.policies.registry import POLICIES, parse_policy
from nap.serving.answer import Answer, cut
from nap.serving.requests import NOTHING, Body, Defaults, read_request
from nap.serving.scheduler import Scheduler
from tiny import NAP, environment
from tiny import nap as nap_command
from toys import CHARS, EOS, PIECES, WORDS, HashDenoiser, TableDenoiser, Toy

aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install 'nap-dlm[serve]'")
from aiohttp.test_utils import TestClient, TestServer  # noqa: E402

from nap.serving.api import Service  # noqa: E402

TestClient.__test__ = TestServer.__test__ = False  # pyright: ignore[reportAttributeAccessIssue]
PLAIN = CanvasSpec(paths=1, path_tokens=12, summary_tokens=0, tags="none")
PATHS = CanvasSpec(paths=2, path_tokens=6, summary_tokens=5)
CHAT, COMPLETE = "/v1/chat/completions", "/v1/completions"


class Free(HashDenoiser):
    """One that a policy may ask about what it wrote."""

    masked_only = False


def defaults(spec: CanvasSpec | None = PLAIN, policy: str = "low_confidence") -> Defaults:
    chosen = parse_policy(policy)
    return Defaults(
        policy=chosen, budget=Budget.of(chosen), sampling=Sampling(), eos="count", seed=0, spec=spec,
        policy_said=policy, max_tokens=300,
    )  # fmt: skip


@contextmanager
def serving(denoiser: Any, given: Defaults, **settings: Any) -> Iterator[Service]:
    places = {name: settings.pop(name) for name in ("rows", "waiting", "cache") if name in settings}
    scheduler = Scheduler(denoiser, **places)
    thread = threading.Thread(target=scheduler.run)
    thread.start()
    try:
        yield Service(denoiser=denoiser, scheduler=scheduler, defaults=given, name="toy", **settings)
    finally:
        scheduler.close()
        thread.join()


@asynccontextmanager
async def client_of(service: Service) -> AsyncIterator[Any]:
    async with TestClient(TestServer(service.app())) as client:
        yield client


async def post(client: Any, path: str, **body: Any) -> Any:
    async with client.post(path, json=body) as answer:
        return answer.status, await answer.json()


async def events(client: Any, path: str, **body: Any) -> list[Any]:
    async with client.post(path, json=body | {"stream": True}) as answer:
        assert answer.status == 200, await answer.text()
        lines = [line async for line in answer.content]
    assert lines[-2:] == [b"data: [DONE]\n", b"\n"]
    return [json.loads(line.removeprefix(b"data: ")) for line in lines[:-2] if line.strip()]


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def alone(denoiser: Any, prompt: str, spec: CanvasSpec, policy: str, number: int = 0, **settings: Any) -> Any:
    """(what is said, trace) of a prompt that is decoded with nobody beside it."""
    ids = denoiser.tokenizer.encode(prompt, add_special_tokens=False)
    canvas = layout(ids, spec, denoiser.tokenizer, denoiser.mask_id, problem_id=f"answer {number}")
    chosen = parse_policy(policy)
    settings = {"budget": Budget.of(chosen), **settings}
    (trace,) = decode_traces(denoiser, [canvas], chosen, **settings)
    return parse(canvas, trace.final, denoiser.tokenizer, trace.uncounted, blanks=True), trace


# The same tokens.


def test_requests_that_share_forwards_get_what_each_gets_alone() -> None:
    denoiser = Free()
    prompts = ["a b c", "d", "e f", "x y z a b c"]
    policies = ["low_confidence", "threshold:tau=0.3", "random", "p2"]

    async def ask() -> list[Any]:
        async with client_of(service) as client:
            both = zip(prompts, policies, strict=True)
            asked = [post(client, COMPLETE, prompt=prompt, policy=policy, trace=True) for prompt, policy in both]
            return await asyncio.gather(*asked)

    with serving(denoiser, defaults(), rows=3) as service:
        replies = asyncio.run(ask())
    for prompt, policy, (status, reply) in zip(prompts, policies, replies, strict=True):
        said, trace = alone(Free(), prompt, PLAIN, policy)
        (choice,) = reply["choices"]
        assert (status, choice["text"]) == (200, said.paths[0])
        assert [event[:4] for event in trace_from_row(choice["nap"]["trace"]).events] == [e[:4] for e in trace.events]
        assert choice["nap"]["forwards"] == trace.forwards
        assert reply["usage"]["prompt_tokens"] == len(prompt.split())


def test_a_canvas_of_paths_answers_with_its_summary_and_gives_the_paths_beside_it() -> None:
    denoiser = HashDenoiser()

    async def ask() -> Any:
        async with client_of(service) as client:
            return await post(client, CHAT, messages=user("a b"), temperature=1.0, seed=7, n=2)

    with serving(denoiser, defaults(PATHS, "parallel_forced")) as service:
        status, reply = asyncio.run(ask())
    assert status == 200
    for number, choice in enumerate(reply["choices"]):
        settings = {"sampling": Sampling(temperature=1.0), "seed": 7, "number": number}
        said, trace = alone(denoiser, "a b", PATHS, "parallel_forced", **settings)
        assert (choice["message"]["content"], choice["nap"]["paths"]) == (said.summary, list(said.paths))
        assert choice["nap"]["tokens_per_forward"] == choice["nap"]["tokens"] / trace.forwards
    written = sum(choice["nap"]["tokens"] for choice in reply["choices"])
    counts = reply["usage"]
    assert counts["completion_tokens"] == written
    assert 0 < counts["completion_tokens_details"]["reasoning_tokens"] < written, "the summaries are no reasoning"
    first, second = (choice["nap"]["paths"] for choice in reply["choices"])
    assert first != second, "each of n answers is a draw of its own"


@pytest.mark.parametrize("spec", [PLAIN, PATHS], ids=["plain", "paths"])
@pytest.mark.parametrize("policy", ["low_confidence", "ar", "threshold:tau=0.2", "p2", "parallel_forced"])
def test_a_stream_ends_as_the_whole_reply_does(policy: str, spec: CanvasSpec) -> None:
    async def ask() -> Any:
        async with client_of(service) as client:
            asked: Any = {"messages": user("a b"), "policy": policy, "n": 2, "temperature": 0.5}
            _, whole = await post(client, CHAT, **asked)
            return whole, await events(client, CHAT, **asked, stream_options={"include_usage": True})

    with serving(Free(), defaults(spec)) as service:
        whole, streamed = asyncio.run(ask())
    *pieces, counted = streamed
    assert counted["usage"] == whole["usage"] and counted["choices"] == []
    for choice in whole["choices"]:
        own = [piece["choices"][0] for piece in pieces if piece["choices"][0]["index"] == choice["index"]]
        assert own[0]["delta"] == {"role": "assistant", "content": ""}
        assert "".join(piece["delta"].get("content", "") for piece in own) == choice["message"]["content"]
        assert [piece["finish_reason"] for piece in own if piece["finish_reason"]] == [choice["finish_reason"]]
        assert own[-1]["nap"] == choice["nap"]


class ByBytes(Toy):
    """One token a byte, as GPT-2's and Qwen's tokenizers have where they know no better."""

    def __init__(self) -> None:
        super().__init__("(?s).", [chr(256 + byte) for byte in range(256)], "")

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [4 + byte for byte in text.encode()]

    def decode(self, ids: Any) -> str:
        return bytes(i - 4 for i in ids if i >= 4).decode("utf-8", "replace")


def test_a_stop_text_of_several_bytes_a_character_is_held_back_whole() -> None:
    tokenizer = ByBytes()
    ids = tokenizer.encode("Preis: 5€ bar")
    table = np.full((1 + len(ids), 260), -9.0)
    table[1 + np.arange(len(ids)), ids] = 9
    denoiser = TableDenoiser(table, tokenizer=tokenizer)

    async def ask() -> Any:
        async with client_of(service) as client:
            asked: Any = {"prompt": "a", "policy": "ar", "max_tokens": len(ids)}
            return [await events(client, COMPLETE, **asked, stop=stop) for stop in (None, "5€")]

    with serving(denoiser, defaults()) as service:
        whole, stopped = asyncio.run(ask())
    assert "".join(event["choices"][0]["text"] for event in whole) == "Preis: 5€ bar"
    assert "".join(event["choices"][0]["text"] for event in stopped) == "Preis: "


# Of a policy that only commits the text settles from the left, so that a client reads along; p2 takes tokens back.
def test_a_client_reads_along_where_nothing_is_taken_back() -> None:
    async def ask() -> Any:
        async with client_of(service) as client:
            return [await events(client, COMPLETE, prompt="a b", policy=policy) for policy in ("ar", "p2")]

    with serving(Free(CHARS), defaults()) as service:
        along, at_once = asyncio.run(ask())
    assert sum(bool(event["choices"][0]["text"]) for event in along) >= 10
    assert sum(bool(event["choices"][0]["text"]) for event in at_once) == 1


@given(
    seed=st.integers(0, 10**6), stops=st.lists(st.text("abc </s", min_size=1, max_size=3), max_size=2),
    tokenizer=st.sampled_from([WORDS, CHARS, PIECES]), spec=st.sampled_from([PLAIN, PATHS]),
    policy=st.sampled_from(["ar", "random", "low_confidence", "parallel_forced"]),
)  # fmt: skip
def test_a_text_that_is_sent_never_changes(
    seed: int, stops: list[str], tokenizer: Toy, spec: CanvasSpec, policy: str
) -> None:
    denoiser, chosen = HashDenoiser(tokenizer), parse_policy(policy)
    canvas = layout(tokenizer.encode("abc"), spec, tokenizer, denoiser.mask_id, problem_id=str(seed))
    answer, texts, stopped = Answer(denoiser, canvas, chosen, {}, stops), [""], list[str]()
    for step in decode(denoiser, [canvas], chosen, budget=Budget(tokens=1)):
        answer.take(step)
        texts.append(answer.text)
        stopped += [answer.written().text] * answer.stopped
    final = answer.written().text
    for earlier, later in zip(texts, [*texts[1:], final], strict=True):
        assert later.startswith(earlier), (earlier, later)
    assert final == cut(final, stops)
    assert {*stopped} <= {final}, "a stop text ends the answer for good"


def test_every_policy_that_is_streamed_only_commits() -> None:
    settling = [name for name, kind in POLICIES.items() if issubclass(kind, Selecting)]
    assert {"threshold", "parallel_threshold", "klass"} <= {*settling}
    assert not {"p2", "remdm", "wino", "saber", "token_edit", "draft_edit", "draft_revise"} & {*settling}
    for name in settling:
        if hasattr(POLICIES[name], "open_guide"):
            continue  # They ask a second model.
        canvas = layout([5, 6], PATHS, WORDS, 0, problem_id="x")
        chosen = parse_policy(name)
        steps = decode(Free(), [canvas], chosen, budget=Budget.of(chosen))
        places = [event.position for step in steps for event in step.events]
        assert len(places) == len({*places}), name


# How it ends.


def test_a_stop_text_ends_the_answer_and_the_work() -> None:
    async def ask() -> Any:
        async with client_of(service) as client:
            whole = await post(client, COMPLETE, prompt="a", policy="ar")
            text = whole[1]["choices"][0]["text"]
            return text, await post(client, COMPLETE, prompt="a", policy="ar", stop=[text[4:6], "never"])

    with serving(HashDenoiser(CHARS), defaults()) as service:
        text, (_, reply) = asyncio.run(ask())
    (choice,) = reply["choices"]
    assert choice["text"] == text[: text.find(text[4:6])]
    assert choice["finish_reason"] == "stop" and choice["nap"]["forwards"] <= 6 < len(text)


def test_an_answer_ends_by_itself_or_where_its_slot_is_full() -> None:
    letters = np.full((13, len(WORDS)), -9.0)
    letters[:, 20] = 9
    ended = letters.copy()
    ended[3:, 20], ended[3:, EOS] = -9, 9
    for table, finish, tokens in ((letters, "length", 12), (ended, "stop", 2)):

        async def ask() -> Any:
            async with client_of(service) as client:
                return await post(client, COMPLETE, prompt="a")

        with serving(TableDenoiser(table), defaults()) as service:
            _, reply = asyncio.run(ask())
        assert reply["choices"][0]["finish_reason"] == finish
        assert reply["usage"]["completion_tokens"] == tokens


def test_a_plain_slot_of_no_said_length_has_the_room_that_the_prompt_leaves() -> None:
    denoiser, spec = HashDenoiser(), CanvasSpec.plain(16)
    denoiser.max_length = 12

    async def ask() -> Any:
        async with client_of(service) as client:
            return [await post(client, COMPLETE, prompt="a b", **told) for told in ({}, {"max_tokens": 16})]

    with serving(denoiser, defaults(spec)) as service:
        (status, reply), (refused, error) = asyncio.run(ask())
    assert (status, reply["choices"][0]["nap"]["tokens"]) == (200, 10)
    assert refused == 400 and "too long" in error["error"]["message"]


class Slow(HashDenoiser):
    """Waits in a forward until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go = threading.Event(), threading.Event()

    def scores(self, ids_BL: Any, layout: Any, rows_N: Any, positions_N: Any) -> Any:
        self.entered.set()
        assert self.go.wait(30)
        return super().scores(ids_BL, layout, rows_N, positions_N)


def test_the_place_of_a_client_that_has_gone_is_free_and_one_too_many_is_told_to_come_back() -> None:
    denoiser = Slow()

    async def ask() -> Any:
        async with client_of(service) as client:
            gone = asyncio.create_task(post(client, COMPLETE, prompt="a b c"))
            await asyncio.to_thread(denoiser.entered.wait)
            waits = asyncio.create_task(post(client, COMPLETE, prompt="d"))
            also = asyncio.create_task(post(client, COMPLETE, prompt="e"))
            while service.scheduler.counts["waiting"] < 2:
                await asyncio.sleep(0.01)
            async with client.post(COMPLETE, json={"prompt": "f"}) as answer:
                busy = answer.status, answer.headers["Retry-After"], (await answer.json())["error"]["message"]
            for task in (gone, also):
                task.cancel()
            while service.scheduler.counts["waiting"] > 1:
                await asyncio.sleep(0.01)
            denoiser.go.set()
            return busy, await waits, await post(client, COMPLETE, prompt="f", n=4)

    with serving(denoiser, defaults(), rows=1, waiting=2) as service:
        busy, (status, reply), more = asyncio.run(ask())
    assert more[0] == 400 and "4 answers are asked for, and this server takes 3 at once" in more[1]["error"]["message"]
    assert busy[:2] == (429, "1") and "3 of 3 places are taken, and 1 are asked for" in busy[2]
    assert (status, reply["choices"][0]["text"]) == (
        200,
        alone(HashDenoiser(), "d", PLAIN, "low_confidence")[0].paths[0],
    )
    # The first was in the forward when its client left, and in none after it; the third never was.
    prompts = [ids.tolist() for call in denoiser.calls for ids in call.ids_BL]
    assert sum(WORDS.id_of["c"] in ids[:3] for ids in prompts) == 1
    assert not any(ids[0] == WORDS.id_of["e"] for ids in prompts)


class Fails(LowConfidence):
    """Fails in its third step."""

    def act(self, row: Any, said: Any) -> Any:
        if row.step == 2:
            raise InputError("this policy fails")
        return super().act(row, said)


class Breaks(HashDenoiser):
    """A forward fails where the letter q is in it."""

    def scores(self, ids_BL: Any, layout: Any, rows_N: Any, positions_N: Any) -> Any:
        if (ids_BL == WORDS.id_of["q"]).any():
            raise MemoryError("no room")
        return super().scores(ids_BL, layout, rows_N, positions_N)


def test_who_fails_is_told_and_the_others_and_the_next_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POLICIES, "fails", Fails)

    async def ask() -> Any:
        async with client_of(service) as client:
            beside = [post(client, COMPLETE, prompt="a"), post(client, COMPLETE, prompt="b", policy="fails")]
            together = await asyncio.gather(*beside, post(client, COMPLETE, prompt=["c", "a"]))
            broken = await post(client, COMPLETE, prompt="q")
            streamed = await events(client, COMPLETE, prompt="b", policy="fails")
            return *together, broken, streamed, await post(client, COMPLETE, prompt="d")

    with serving(Breaks(), defaults()) as service:
        first, failed, several, broken, streamed, last = asyncio.run(ask())
    assert (failed[0], failed[1]["error"]["message"]) == (400, "this policy fails")
    assert broken[0] == 500 and "log says why" in broken[1]["error"]["message"]
    assert streamed[-1]["error"]["message"] == "this policy fails"
    for (status, reply), prompts in ((first, "a"), (several, "ca"), (last, "d")):
        texts = [alone(HashDenoiser(), p, PLAIN, "low_confidence")[0].paths[0] for p in prompts]
        assert (status, [choice["text"] for choice in reply["choices"]]) == (200, texts)


class Panics(Toy):
    """Panics, as the tokenizers library does, where it reads a text with a q."""

    def decode(self, ids: Any) -> str:
        if self.id_of["q"] in ids:
            raise BaseException("a panic")
        return super().decode(ids)


def test_a_panic_ends_no_more_than_what_is_being_written() -> None:
    table = np.full((13, len(WORDS)), -9.0)
    table[:, WORDS.id_of["q"]] = 9
    panicking = TableDenoiser(table, tokenizer=Panics(WORDS.pattern, WORDS.words[4:], " "))

    async def ask() -> Any:
        async with client_of(service) as client:
            first = await post(client, COMPLETE, prompt="a")
            table[:] = -9
            table[:, WORDS.id_of["b"]] = 9
            return first, await post(client, COMPLETE, prompt="a")

    with serving(panicking, defaults()) as service:
        (failed, _), (status, reply) = asyncio.run(ask())
    assert (failed, status, reply["choices"][0]["text"]) == (500, 200, " ".join("b" * 12))


# What is refused.


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (COMPLETE, [], "the body must be a JSON object, got []"),
        (COMPLETE, {}, "a completion needs a prompt: a text, or a list of texts"),
        (COMPLETE, {"prompt": [1, 2]}, "prompt must be a text, a list of texts or None, got [1, 2]"),
        (COMPLETE, {"prompt": "a", "messages": []}, "a chat has messages, a completion has a prompt"),
        (COMPLETE, {"prompt": "a", "polcy": "ar"}, "unknown field 'polcy'; did you mean 'policy'?"),
        (COMPLETE, {"prompt": "a", "policy": "a r"}, "unknown policy 'a r'"),
        (COMPLETE, {"prompt": "a", "policy": "threshold", "steps": 3}, "sets its own pace"),
        (COMPLETE, {"prompt": "a", "logprobs": 3}, "logprobs 3 is nothing that a canvas can give; drop it"),
        (COMPLETE, {"prompt": "a", "logprobs": 0}, "logprobs 0 is nothing that a canvas can give; drop it"),
        (COMPLETE, {"prompt": "a", "n": 0}, "n must be at least 1, got 0"),
        (COMPLETE, {"prompt": "a", "n": True}, "n must be a whole number or None, got True"),
        (COMPLETE, {"prompt": "a", "n": 1000}, "n must be at most 128"),
        (COMPLETE, {"prompt": ["a"] * 100, "n": 2}, "answers of a request must be at most 128"),
        (COMPLETE, {"prompt": "a", "seed": -1}, "seed must be at least 0, got -1"),
        (COMPLETE, {"prompt": "a", "top_p": 0.5}, "top_p 0.5 changes nothing at temperature 0"),
        (COMPLETE, {"prompt": "a", "temperature": float("nan")}, "temperature must be >= 0"),
        (COMPLETE, {"prompt": "a", "max_tokens": 0}, "max_tokens must be at least 1, got 0"),
        (COMPLETE, {"prompt": "a", "max_tokens": 2, "max_completion_tokens": 3}, "differ; give one of them"),
        (COMPLETE, {"prompt": "a", "max_tokens": 301}, "max_tokens must be at most 300 (nap serve --max-tokens allows"),
        (COMPLETE, {"prompt": "a", "stop": ["x", ""]}, "characters of a stop text must be at least 1, got 0"),
        (COMPLETE, {"prompt": "a", "stop": "x" * 300}, "characters of a stop text must be at most 256"),
        (COMPLETE, {"prompt": "a", "guidance": 10**400}, "guidance must be a number or None, got 1000"),
        (COMPLETE, {"prompt": "a", "guidance": 1e39}, "(0 is off) and at most 1000000, got 1e+39"),
        (COMPLETE, {"prompt": "a", "policy": "learned:guide=/etc/hostname"}, "(guide) is the server's choice"),
        (COMPLETE, {"prompt": "a", "policy": "draft_edit:draft=" * 3000}, "characters of policy must be at most 256"),
        (COMPLETE, {"prompt": "a", "eos": "halt"}, "unknown eos setting 'halt'"),
        (COMPLETE, {"prompt": "a", "stream_options": {"include_usage": True}}, "stream_options are for a stream"),
        (COMPLETE, {"prompt": "a", "stream_options": {"include_usage": "yes"}}, "must be true or false, got 'yes'"),
        (COMPLETE, {"prompt": "\ud800"}, "half a character"),
        (COMPLETE, {"prompt": "A"}, "answer 0: ToyDenoiser does not know the word 'A' of the prompt"),
        (CHAT, {"messages": [{"role": "user", "content": None}]}, "messages[0]: its content must be a text"),
        (CHAT, {"messages": [{"role": "tool", "content": "a"}]}, "unknown role of messages[0] 'tool'"),
        (CHAT, {"messages": [{"role": "assistant", "content": "a"}]}, "the last message must be the user's"),
        (CHAT, {"messages": [*user("a"), *user("b")]}, "toy has no chat template: send one message of the user"),
        (CHAT, {"messages": user("a"), "tools": [{"type": "function"}]}, "is nothing that a canvas can give"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "a text or a list of texts"),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_followed_is_one_line(path: str, body: Any, said: str) -> None:
    denoiser = HashDenoiser()
    denoiser.setting = {"model": "ToyDenoiser"}
    denoiser.tokenizer = Known()

    async def ask() -> Any:
        async with client_of(service) as client:
            return [await ask_once(client, stream) for stream in (False, True)]

    async def ask_once(client: Any, stream: bool) -> Any:
        if isinstance(body, dict) and "stream_options" in body and stream:
            return 400, {"error": {"message": said, "type": "invalid_request_error"}}
        sent = body | {"stream": stream} if isinstance(body, dict) else body
        async with client.post(path, json=sent) as answer:
            return answer.status, await answer.json()

    with serving(denoiser, defaults()) as service:
        for status, reply in asyncio.run(ask()):
            assert status == 400 and said in reply["error"]["message"], reply
            assert reply["error"]["type"] == "invalid_request_error" and "\n" not in reply["error"]["message"]


class Known(Toy):
    """Says which token stands for what it does not know."""

    unk_token_id, unk_token = 3, "<unk>"

    def __init__(self) -> None:
        super().__init__(WORDS.pattern, WORDS.words[4:], " ")


def test_what_asks_for_nothing_is_passed_over() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    body: Any = {"messages": [{"role": "developer", "content": "s"}, {"role": "user", "content": parts}]}
    body |= {"tools": [], "logprobs": False, "presence_penalty": 0.0, "response_format": {"type": "text"}, "user": "u"}
    body |= {"logit_bias": None, "max_completion_tokens": 5, "metadata": {"x": 1}, "tool_choice": "auto"}
    wanted = read_request(body, defaults(), chat=True)
    assert wanted.prompts == ((("system", "s"), ("user", "ab")),)
    assert wanted.spec.path_tokens == 5
    assert read_request({"prompt": "a"}, defaults(None), chat=False).spec.path_tokens == 256
    with pytest.raises(InputError, match="max_tokens is 4, and this model's canvas has 5 for an answer"):
        read_request({"prompt": "a", "max_tokens": 4}, defaults(PATHS), chat=False)
    assert read_request({"prompt": "a", "max_tokens": 5}, defaults(PATHS), chat=False).spec == PATHS
    # The server's own top_p is for its own temperature.
    own = replace(defaults(), sampling=Sampling(temperature=0.7, top_p=0.9))
    for asked, sampling in (({}, own.sampling), ({"temperature": 0}, Sampling(temperature=0))):
        assert read_request({"prompt": "a"} | asked, own, chat=False).told.get("sampling") == sampling


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
FIELDS = sorted({*(field.name for field in fields(Body)), *NOTHING, "role", "content", "type", "text"})


@given(st.dictionaries(st.sampled_from(FIELDS), JSON | st.lists(st.dictionaries(st.sampled_from(FIELDS), JSON))))
def test_any_body_is_understood_or_refused_in_one_line(body: Any) -> None:
    for chat in (True, False):
        for asked in (body, body | ({"messages": user("a")} if chat else {"prompt": "a"})):
            try:
                wanted = read_request(asked, defaults(), chat=chat)
            except InputError as error:
                assert "\n" not in str(error)
            else:
                assert wanted.prompts and 1 <= wanted.n <= 128


def test_a_page_of_the_web_and_a_stranger_are_refused() -> None:
    key = {"Authorization": "Bearer clé"}
    typed = key | {"Content-Type": "application/json"}
    tried: list[tuple[str, dict[str, Any]]] = [
        (COMPLETE, {"json": {"prompt": "a"}}),
        (COMPLETE, {"json": {"prompt": "a"}, "headers": {"Authorization": "Bearer wrong"}}),
        (COMPLETE, {"json": {"prompt": "a"}, "headers": {"Authorization": "clé"}}),
        (COMPLETE, {"data": b"{}", "headers": key | {"Content-Type": "text/plain"}}),
        (COMPLETE, {"data": b"\xff", "headers": typed}),
        (COMPLETE, {"data": b"[" * 10**5, "headers": typed}),
        (COMPLETE, {"data": io.BytesIO(b" " * (3 << 20)), "headers": typed}),
        (COMPLETE, {"data": b"xxxx", "headers": typed | {"Content-Encoding": "gzip"}}),
        ("/v1/nothing", {"json": {"prompt": "a"}, "headers": key}),
        (COMPLETE, {"json": {"prompt": "a", "model": "other"}, "headers": key}),
        (COMPLETE, {"json": {"prompt": "a", "model": "toy"}, "headers": {"Authorization": "bearer clé"}}),
    ]

    async def ask() -> Any:
        async with client_of(service) as client:
            found = []
            for path, told in tried:
                async with client.post(path, **told) as answer:
                    found.append((answer.status, (await answer.json()).get("error", {}).get("code")))
            async with client.get("/health") as answer:
                return found, await answer.json()

    with serving(HashDenoiser(), defaults(), key="clé") as service:
        found, health = asyncio.run(ask())
    assert found == [
        (401, "invalid_api_key"), (401, "invalid_api_key"), (401, "invalid_api_key"), (415, "content_type"),
        (400, "invalid_request"), (400, "invalid_request"), (413, "http"), (400, "invalid_request"),
        (404, "http"), (404, "model_not_found"), (200, None),
    ]  # fmt: skip
    assert health == {"status": "ok", "model": "toy", "running": 0, "waiting": 0}

    async def name(host: str) -> int:
        async with (
            client_of(service) as client,
            client.post(COMPLETE, json={"prompt": "a"}, headers={"Host": host}) as answer,
        ):
            return answer.status

    with serving(HashDenoiser(), defaults()) as service:
        hosts = ("evil.example", "127.0.0.1.evil.example", "LocalHost:80", "localhost.", "[::1]:8000")
        assert [asyncio.run(name(host)) for host in hosts] == [403, 403, 200, 200, 200]


# As a process, by the field's own client.


@contextmanager
def process(*flags: str, **env: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`nap serve` and its address."""
    command = [sys.executable, "-c", NAP, "serve", "--port", "0", *flags]
    served = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment(**env))
    try:
        assert served.stderr
        lines = iter(served.stderr.readline, "")
        line = next(line for line in lines if " answers at " in line)
        yield served, line.partition(" answers at ")[2].partition(";")[0]
    finally:
        served.kill()
        served.communicate()


def test_the_fields_own_client_is_answered_and_a_signal_ends_it() -> None:
    openai = pytest.importorskip("openai")
    from openai.types import Completion
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

    import nap

    question = "story 1 bag cousin story 2 map and story 3 coins cold"
    result = nap.decode("agree-nap", question, policy="parallel_threshold:tau=0.9")
    flags = ("--model", "agree-nap", "--name", "agree", "--policy", "parallel_threshold:tau=0.9")
    with process(*flags, NAP_API_KEY="k") as (served, address):
        client = openai.OpenAI(base_url=address, api_key="k", max_retries=0)
        assert [model.id for model in client.models.list()] == ["agree"]
        asked: Any = {"model": "agree", "messages": user(question)}
        chat = client.chat.completions.create(**asked)
        ChatCompletion.model_validate(chat.to_dict())
        (choice,) = chat.choices
        said: Any = choice.to_dict()["nap"]
        assert (choice.message.content, said["paths"]) == (result.text, [*result.completion.paths])
        assert (said["forwards"], choice.finish_reason) == (result.trace.forwards, "stop")
        chunks = [*client.chat.completions.create(**asked, stream=True)]
        for chunk in chunks:
            ChatCompletionChunk.model_validate(chunk.to_dict())
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == result.text
        whole = client.completions.create(model="agree", prompt=question)
        Completion.model_validate(whole.to_dict())
        assert whole.choices[0].text == result.text and whole.usage
        for wrong, kind in (({"model": "x"}, openai.NotFoundError), ({"temperature": -1}, openai.BadRequestError)):
            with pytest.raises(kind):
                client.chat.completions.create(**asked | wrong)
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=address, api_key="x", max_retries=0).models.list()
        taken = nap_command("serve", "--model", "agree-nap", "--port", address.split(":")[2].partition("/")[0])
        assert taken.returncode == 2 and "cannot listen at 127.0.0.1:" in taken.stderr.splitlines()[-1]
        assert client.models.retrieve("agree").id == "agree"
        served.send_signal(signal.SIGTERM)
        said_last = served.communicate(timeout=30)[1]
        assert (served.returncode, said_last) == (0, "")


def test_clients_that_are_answered_when_it_is_told_to_stop_are_told_so() -> None:
    async def ask(address: str, served: Any) -> Any:
        async with aiohttp.ClientSession(base_url=address.removesuffix("/v1")) as client:
            asked: Any = {"prompt": "story 1 bag cousin story 2 map and story 3 coins cold"}
            asked["policy"] = "remdm:loops=100000"
            whole = asyncio.create_task(post(client, COMPLETE, **asked))
            streamed = asyncio.create_task(events(client, COMPLETE, **asked))
            await asyncio.sleep(1)
            waits = asyncio.create_task(post(client, COMPLETE, **asked))
            health: Any = {"waiting": 0}
            while health["waiting"] < 1:
                await asyncio.sleep(0.1)
                async with client.get("/health") as answer:
                    health = await answer.json()
            started = time.monotonic()
            for _ in range(2):
                served.send_signal(signal.SIGINT)
                await asyncio.sleep(0.2)
            return await whole, await waits, await streamed, time.monotonic() - started

    with process("--model", "agree-nap", "--rows", "2", "--waiting", "5") as (served, address):
        whole, waits, streamed, seconds = asyncio.run(ask(address, served))
        assert (served.wait(30), seconds < 5) == (0, True)
    for status, said in (whole, waits):
        assert status == 429 and "the server is stopping" in said["error"]["message"]
    assert "the server is stopping" in streamed[-1]["error"]["message"]


@pytest.mark.parametrize(("flags", "tokens"), [((), 256), (("--path-tokens", "40"), 40)])
def test_a_plain_canvas_is_as_long_as_the_page_says(
    flags: tuple[str, ...], tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nap.cli import run

    served: list[Service] = []
    monkeypatch.setattr("nap.serving.api.serve", lambda service, **_: served.append(service))
    run(["serve", "--model", "agree-longcot", "--canvas", "plain", *flags])
    assert served[0].defaults.spec == CanvasSpec.plain(tokens)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--seed", "-1"], "seed must be at least 0"),
        (["--cache", "bogus"], "unknown cache 'bogus'"),
        (["--key-env", "NO_SUCH_KEY"], "the environment has no key in NO_SUCH_KEY"),
        (["--port", "70000"], "port must be at most 65535"),
        (["--rows", "0"], "rows must be at least 1"),
        (["--policy", "threshold", "--steps", "3"], "sets its own pace"),
        (["--host", "no.such.host.invalid"], "cannot listen at no.such.host.invalid"),
    ],
)
def test_a_wrong_flag_is_one_line(flags: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    from nap.cli import run

    with pytest.raises(InputError, match=said):
        run(["serve", "--model", "agree-nap", *flags])
