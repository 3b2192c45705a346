"""A scorer for SeqDep: a model behind an OpenAI-compatible server.

Does not start a server. Scoring generates no text: the one token that a server has to write is dropped.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from nap.common.files import InputError
from nap.dependence.scorer import Floats, Reading, Scores, TextReader, split_scores
from nap.dependence.segments import Ids
from nap.models import checkpoint

if TYPE_CHECKING:
    from openai.types import CompletionChoice
    from transformers import PreTrainedTokenizerBase

Reply = TypeVar("Reply")
# How many texts one request sends to a server.
REQUEST = 16


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
        from openai import OpenAI

        super().__init__(tokenizer, url)
        self.client = OpenAI(base_url=url, api_key=os.environ.get("OPENAI_API_KEY") or "none")
        self.model = model or self._first_model()

    def _first_model(self) -> str:
        served = getattr(self._asked(self.client.models.list), "data", None)
        if not served:
            raise InputError(f"the server {self.name} lists no model; does its address end in /v1? or give --model")
        return served[0].id

    def _asked(self, ask: Callable[[], Reply]) -> Reply:
        from openai import OpenAIError

        try:
            return ask()
        except OpenAIError as error:
            raise InputError(f"the server {self.name} does not answer ({checkpoint.brief(error)})") from None

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
        reply = self._asked(
            # Some servers refuse 0 tokens, so one is asked for and cut off below.
            lambda: self.client.completions.create(
                model=self.model, prompt=prompts, max_tokens=1, echo=True, logprobs=1, temperature=0
            )
        )
        # The SDK returns a reply that is not JSON as text.
        choices = sorted(getattr(reply, "choices", None) or [], key=lambda choice: choice.index)
        if len(choices) != len(requests):
            raise InputError(
                f"the server {self.name} gave {len(choices)} answers to {len(requests)} prompts; "
                "is it an OpenAI-compatible server?"
            )
        return [self._checked(choice, request) for choice, request in zip(choices, requests, strict=True)]

    def sample(self, context: Ids, count: int, length: int, seed: int) -> list[list[str]]:
        """The tokens of `count` continuations of a context, in the server's spelling, at most `length` each.

        Raises InputError if the server is down or does not return its tokens.
        """
        reply = self._asked(
            lambda: self.client.completions.create(
                model=self.model,
                prompt=[list(context)],
                n=count,
                max_tokens=length,
                logprobs=1,
                temperature=1,
                seed=seed,
            )
        )
        choices = getattr(reply, "choices", None) or []
        drawn = [choice.logprobs and choice.logprobs.tokens for choice in choices]
        if len(drawn) != count or not all(isinstance(tokens, list) and tokens for tokens in drawn):
            raise InputError(
                f"the server {self.name} gave {len(choices)} of {count} continuations with their tokens; it must "
                "support n and logprobs (vLLM and SGLang do)"
            )
        return [[str(token) for token in tokens] for tokens in drawn]

    def _checked(self, choice: "CompletionChoice", request: _Request) -> Floats:
        scores = (choice.logprobs and choice.logprobs.token_logprobs) or []
        if not 0 <= len(scores) - len(request.ids) <= 1:
            raise InputError(
                f"the server {self.name} gave {len(scores)} log-probabilities of a prompt's {len(request.ids)} tokens; "
                "it must support echo with logprobs (vLLM and SGLang do), and --tokenizer must be its model's"
            )
        return np.array(scores[request.scored_from : len(request.ids)], float)
