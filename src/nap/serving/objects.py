"""The objects of OpenAI's API that a reply consists of, as JSON.

Beside OpenAI's fields each answer has `nap`: its policy, what it cost, the texts of its paths, and its trace where that
was asked for. Does not read requests (requests.py) and sends nothing (api.py).
"""

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from nap.decoding.policies.registry import policy_name
from nap.serving.answer import Written
from nap.serving.requests import Wanted

Json = dict[str, Any]


class Reply:
    """The objects of one reply."""

    def __init__(self, model: str, wanted: Wanted, *, chat: bool) -> None:
        self.wanted, self.chat = wanted, chat
        self._head = {"id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}", "created": int(time.time())}
        self._head |= {"model": model}
        self._sent: dict[int, str] = {}

    def whole(self, answers: Sequence[Written]) -> Json:
        """The reply to a request that does not stream."""
        choices = []
        for number, answer in enumerate(answers):
            said = {"message": {"role": "assistant", "content": answer.text}} if self.chat else {"text": answer.text}
            choices.append({"index": number, "logprobs": None} | said | self._ended(answer))
        return self._object("chat.completion" if self.chat else "text_completion", choices) | self._usage(answers)

    def pieces(self, number: int, part: str | Written) -> Iterator[Json]:
        """What is new of an answer in a stream, from its text so far or from all of it.

        Raises RuntimeError where what was sent has changed.
        """
        if number not in self._sent and self.chat:
            yield self._piece(number, {"delta": {"role": "assistant", "content": ""}, "finish_reason": None})
        before, text = self._sent.get(number, ""), part.text if isinstance(part, Written) else part
        if not text.startswith(before):
            raise RuntimeError(f"the text that was sent has changed, from {before!r:.80} to {text!r:.80}")
        self._sent[number] = text
        if new := text[len(before) :]:
            said = {"delta": {"content": new}} if self.chat else {"text": new}
            yield self._piece(number, said | {"finish_reason": None})
        if isinstance(part, Written):
            yield self._piece(number, ({"delta": {}} if self.chat else {"text": ""}) | self._ended(part))

    def counted(self, answers: Sequence[Written]) -> Json:
        """The piece that counts the tokens of all answers."""
        return self._chunk([]) | self._usage(answers)

    def _piece(self, number: int, said: Json) -> Json:
        return self._chunk([{"index": number, "logprobs": None} | said])

    def _chunk(self, choices: list[Json]) -> Json:
        return self._object("chat.completion.chunk" if self.chat else "text_completion", choices)

    def _ended(self, answer: Written) -> Json:
        cost: Json = {"policy": policy_name(self.wanted.policy), "tokens": answer.tokens, "forwards": answer.forwards}
        cost["tokens_per_forward"] = answer.tokens / answer.forwards if answer.forwards else None
        cost |= {"paths": answer.paths} if answer.paths else {}
        cost |= {"trace": answer.trace} if answer.trace else {}
        return {"finish_reason": answer.finish, "nap": cost}

    def _usage(self, answers: Sequence[Written]) -> Json:
        """Tokens of the prompts, each counted once, and of all answers."""
        prompt = sum(answer.prompt for answer in answers[:: self.wanted.n])
        written = sum(answer.tokens for answer in answers)
        counts: Json = {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}
        counts["completion_tokens_details"] = {"reasoning_tokens": sum(answer.thought for answer in answers)}
        return {"usage": counts}

    def _object(self, kind: str, choices: list[Json]) -> Json:
        return {"object": kind, **self._head, "choices": choices}
