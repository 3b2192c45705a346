"""A scorer for SeqDep: a model behind an OpenAI-compatible server.

Does not start a server. Scoring generates no text: the one token that a server has to write is dropped. All that it
says is untrusted (common/server.py).
"""

import asyncio
import json
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nap.common.files import InputError
from nap.common.server import Endpoint, Fatal, Passing, Refused, Server, model_names
from nap.dependence.scorer import Floats, Reading, Scores, TextReader, split_scores
from nap.dependence.segments import Ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# How many texts one request sends to a server.
REQUEST = 16
# How often one is sent at most; seconds before the second time (twice as many before the third), at most before any,
# and until a reply.
ATTEMPTS, PAUSE, MOST_PAUSE, TIMEOUT = 3, 0.5, 30.0, 600.0
# Of a reply: REQUEST texts of 16,000 tokens, each with its text and its log-probability.
MOST_BYTES = 32 << 20
# Servers round, so that a log-probability may be a little above 0; and none has so many nats.
ROUNDING, MOST_NATS = 1e-3, 1e30


@dataclass(frozen=True)
class _Request:
    """A text as ids, and the index of its first token that is to be scored."""

    ids: Ids
    scored_from: int


class ServerScorer(TextReader):
    """A model behind an OpenAI-compatible server that echoes prompts with their log-probabilities.

    Prompts are sent as token ids to /completions with echo and logprobs. vLLM and SGLang support this, llama.cpp's
    server does not. The prefix cache of the server makes it fast. The key is read from OPENAI_API_KEY.
    """

    max_length: int | None = None

    def __init__(self, url: str, tokenizer: "PreTrainedTokenizerBase", model: str | None) -> None:
        super().__init__(tokenizer, url)
        self.endpoint = Endpoint(url=url, model=model or "")
        self.model = model or self._first_model()

    def _first_model(self) -> str:
        served = model_names(self._asked("GET", "/models"))
        if not served:
            raise InputError(f"the server {self.name} lists no model; does its address end in /v1? or give --model")
        return served[0]

    def _completed(self, **asked: object) -> list[dict[str, Any]]:
        """The choices of an answer of /completions; none of what is something else."""
        reply = self._asked("POST", "/completions", json.dumps({"model": self.model, **asked}).encode())
        choices = reply.get("choices") if isinstance(reply, dict) else None
        return [one for one in choices if isinstance(one, dict)] if isinstance(choices, list) else []

    def _asked(self, method: str, path: str, body: bytes | None = None) -> object:
        attempt = 1
        while True:
            try:
                return _run(self._call(method, path, body))
            except (Refused, Fatal) as error:
                raise InputError(f"the server {self.name} refuses this ({error})") from None
            except Passing as error:
                if attempt == ATTEMPTS:
                    raise InputError(f"the server {self.name} does not answer ({error})") from None
                time.sleep(min(error.pause or PAUSE * 2 ** (attempt - 1), MOST_PAUSE))
                attempt += 1

    async def _call(self, method: str, path: str, body: bytes | None) -> object:
        server = Server(self.endpoint, TIMEOUT, MOST_BYTES)
        try:
            return await server.call(method, path, body)
        finally:
            await server.close()

    def score(self, readings: Sequence[Reading]) -> list[Scores]:
        """See `Scorer`. Raises InputError if the server is down or returns no log-probabilities of prompts."""
        # A trunk whose own tokens are not scored, such as a stranger's history, need not be sent alone.
        asked = [
            request
            for trunk, branches, scored_from in readings
            for request in (
                *([_Request(trunk, scored_from)] if scored_from < len(trunk) else []),
                *(_Request((*trunk[:after], *ids), after) for after, ids in branches),
            )
        ]
        found = [score for i in range(0, len(asked), REQUEST) for score in self._scores(asked[i:][:REQUEST])]
        return list(split_scores(np.concatenate(found), readings))

    def _scores(self, requests: Sequence[_Request]) -> list[Floats]:
        prompts = [list(request.ids) for request in requests]
        # Some servers refuse 0 tokens, so one is asked for and cut off below.
        choices = self._completed(prompt=prompts, max_tokens=1, echo=True, logprobs=1, temperature=0)
        if len(choices) != len(requests):
            raise InputError(
                f"the server {self.name} gave {len(choices)} answers to {len(requests)} prompts; "
                "is it an OpenAI-compatible server?"
            )
        return [self._checked(*pair) for pair in zip(self._in_order(choices), requests, strict=True)]

    def _in_order(self, choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """By the server's numbers, for a server may answer in any order."""
        numbers = [choice.get("index") for choice in choices]
        found = {number: choice for number, choice in zip(numbers, choices, strict=True) if type(number) is int}
        if sorted(found) != [*range(len(choices))]:
            raise InputError(
                f"the server {self.name} numbers its {len(choices)} answers {numbers!r:.100}; they must be 0, 1, ... "
                "as the prompts are"
            )
        return [found[number] for number in sorted(found)]

    def sample(self, context: Ids, count: int, length: int, seed: int) -> list[list[str]]:
        """The tokens of `count` continuations of a context, in the server's spelling, at most `length` each.

        Raises InputError if the server is down or does not return its tokens.
        """
        choices = self._completed(
            prompt=[list(context)], n=count, max_tokens=length, logprobs=1, temperature=1, seed=seed
        )
        drawn = [_listed(choice, "tokens") for choice in choices]
        if len(drawn) != count or not all(drawn):
            raise InputError(
                f"the server {self.name} gave {len(choices)} of {count} continuations with their tokens; it must "
                "support n and logprobs (vLLM and SGLang do)"
            )
        return [[str(token) for token in tokens] for tokens in drawn]

    def _checked(self, choice: dict[str, Any], request: _Request) -> Floats:
        scores = _listed(choice, "token_logprobs")
        if not 0 <= len(scores) - len(request.ids) <= 1:
            raise InputError(
                f"the server {self.name} gave {len(scores)} log-probabilities of a prompt's {len(request.ids)} tokens; "
                "it must support echo with logprobs (vLLM and SGLang do), and --tokenizer must be its model's"
            )
        asked = scores[request.scored_from : len(request.ids)]
        # What is missing is refused where it is needed.
        odd = [one for one in asked if one is not None and not _is_logprob(one)]
        if odd:
            raise InputError(f"the server {self.name} gave {odd[0]!r:.60} as a log-probability, a number of at most 0")
        return np.array(asked, float)


def _listed(choice: dict[str, Any], name: str) -> list[Any]:
    """A list among a choice's log-probabilities; empty without."""
    beside = choice.get("logprobs")
    found = beside.get(name) if isinstance(beside, dict) else None
    return found if isinstance(found, list) else []


def _is_logprob(found: object) -> bool:
    """Whether it is a finite number of at most 0, as near as servers round."""
    return isinstance(found, int | float) and type(found) is not bool and -MOST_NATS < found <= ROUNDING


def _run(asked: Coroutine[Any, Any, object]) -> object:
    """The result, in a notebook too, whose own loop is running."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(asked)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, asked).result()
