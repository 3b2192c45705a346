"""Autoregressive scorers for SeqDep: a causal language model from a folder or the hub, or a server.

A trunk (prompt and history) is read once and its keys and values are kept. Its branches then run side by side in few
forwards, each seeing the trunk up to its own place and itself: every number is what a forward of its own would give,
up to rounding. Models that look back only so far, or that count positions in their own way, are asked one text at a
time.

Letters: T tokens of a forward, C tokens in the cache, V vocabulary.
Runs no code of a checkpoint and opens no pickles; does not generate.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from nap import checkpoint
from nap.files import InputError
from nap.machine import choose_dtype, usable_device
from nap.segments import Ids
from nap.seqdep import Branch, Floats, Scorer

# Tokens of one forward: enough to use the machine, few enough that their logits (V floats each) fit into memory.
FORWARD = 512
# Texts of one request to a server.
REQUEST = 16
# Settings of models that do not see all that stands before a token.
WINDOWS = ("sliding_window", "attention_chunk_size")


def open_scorer(
    name: str,
    *,
    tokenizer: str | None = None,
    model: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
) -> Scorer:
    """The scorer of that name: a folder or hub name of a causal language model, or the URL of a server.

    tokenizer  for a URL, and only then: the folder or hub name whose tokenizer the served model has
    model      for a URL: which of the served models (default: the first)
    dtype      float32 by default: shorter types round every log-probability. `auto` takes what is fast

    Raises InputError for what cannot be opened, and settings that do not fit.
    """
    if name.startswith(("http://", "https://")):
        if tokenizer is None:
            raise InputError(f"scorer {name} is a server: give the folder of its model's tokenizer, --tokenizer DIR")
        return ServerScorer(name, _tokenizer(tokenizer), model)
    if tokenizer or model:
        flag = "tokenizer" if tokenizer else "model"
        raise InputError(f"--{flag} is for servers, and the scorer {name} is a model of its own; leave it out")
    folder, _ = checkpoint.find(name)
    return CausalScorer(_load(folder, device, dtype), _tokenizer(name), name)


def _tokenizer(name: str) -> Any:
    folder, _ = checkpoint.find(name)
    found = checkpoint.read_tokenizer(folder)
    if found is None:
        raise InputError(f"{name} has no tokenizer, so it cannot read text; put its tokenizer.json into its folder")
    return found


def _load(folder: Path, device: str, dtype: str) -> Any:
    """The model in transformers' own class. Raises InputError unless it is whole, causal, and needs no foreign code."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    place, config = usable_device(device), checkpoint.read_config(folder)
    if config.get("mask_token_id") is not None:
        raise InputError(f"{folder} is a masked diffusion model; a scorer is a causal language model such as SmolLM2")
    number = choose_dtype(dtype, place, config.get("hidden_size") or 0)
    checkpoint.weight_files(folder)
    logging.disable_progress_bar()
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=number, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # transformers raises a dozen types, and not the same in each version.
        raise InputError(f"{folder} does not load as a causal language model ({checkpoint.brief(error)})") from None
    model, info = loaded
    # They would be random.
    if missing := sorted(info["missing_keys"]):
        raise InputError(f"{folder} lacks {len(missing)} tensors of its model, first {missing[0]}; was it cut?")
    return model.to(place).eval()


def _start(tokenizer: Any) -> Ids:
    """The beginning-of-text token, if the tokenizer puts one before a text."""
    begin = tokenizer.bos_token_id
    return (begin,) if begin is not None and tokenizer.encode("a")[:1] == [begin] else ()


class _Reader:
    """The tokenizer's part of `Scorer`."""

    def __init__(self, tokenizer: Any, name: str) -> None:
        self.tokenizer, self.name, self.start = tokenizer, name, _start(tokenizer)

    def encode(self, text: str) -> list[int]:
        """The ids of a text by itself, without special tokens. Text that looks like a special token is only text."""
        return list(self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))


class CausalScorer(_Reader):
    """A causal language model of transformers."""

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        super().__init__(tokenizer, name)
        self.model = model
        self.max_length: int | None = getattr(model.config, "max_position_embeddings", None)
        self.vocabulary: int = model.get_input_embeddings().num_embeddings
        self.branches_share = not any(getattr(model.config, w, None) for w in WINDOWS) and self._shares()

    def encode(self, text: str) -> list[int]:
        """As `Scorer`. Raises InputError for a token that the model does not have: the tokenizer is another model's."""
        ids = super().encode(text)
        if max(ids, default=0) >= self.vocabulary:
            raise InputError(
                f"{self.name}: its tokenizer has token {max(ids)}, its model only {self.vocabulary} tokens"
            )
        return ids

    @torch.inference_mode()
    def score(self, trunk: Ids, branches: Sequence[Branch], scored_from: int) -> tuple[Floats, Floats]:
        """See `Scorer`."""
        if not self.branches_share:
            return self._score_apart(trunk, branches, scored_from)
        from transformers import DynamicCache

        cache = DynamicCache()
        scores = self._read(trunk, scored_from, cache)
        found = np.empty(len(branches))
        # The longest histories first, so that what the rest must not see is cut off the cache as we go.
        order = sorted(range(len(branches)), key=lambda i: -branches[i].after)
        for pack in _packs(order, branches):
            found[pack] = self._branch(trunk, [branches[i] for i in pack], cache)
        return scores, found

    def _read(self, trunk: Ids, scored_from: int, cache: Any) -> Floats:
        """Run the trunk into the cache, FORWARD tokens at a time: log p of its tokens from `scored_from` on."""
        ids = torch.tensor([trunk], device=self.model.device)
        scores = [np.empty(0)]
        # The token at p is predicted at p - 1, and nothing is predicted at the last.
        for first in range(0, len(trunk) - 1, FORWARD):
            last = min(first + FORWARD, len(trunk) - 1)
            predicted = ids[0, max(first + 1, scored_from) : last + 1]
            logits = self.model(
                ids[:, first:last], past_key_values=cache, use_cache=True, logits_to_keep=max(len(predicted), 1)
            ).logits
            if len(predicted):
                scores.append(_log_p(logits[0, -len(predicted) :], predicted))
        return np.concatenate(scores)

    def _branch(self, trunk: Ids, branches: Sequence[Branch], cache: Any) -> list[float]:
        """log p of each branch in one forward, after cutting the cache to what they see."""
        # A branch's first token is predicted at the trunk's token before it, which runs again as the branch's own.
        rows = [(trunk[after - 1], *ids[:-1]) for after, ids in branches]
        self._keep(cache, max(after for after, _ in branches) - 1)
        place = {"device": self.model.device}
        position_T = torch.tensor([after - 1 + i for after, ids in branches for i in range(len(ids))], **place)
        branch_T = torch.tensor([n for n, (_, ids) in enumerate(branches) for _ in ids], **place)
        first_T = torch.tensor([after - 1 for after, ids in branches for _ in ids], **place)
        logits = self.model(
            torch.tensor([[token for row in rows for token in row]], **place),
            attention_mask=_mask(branch_T, first_T, cache.get_seq_length(), self.model.dtype),
            position_ids=position_T[None],
            past_key_values=cache,
            use_cache=True,
        ).logits
        scores = _log_p(logits[0], torch.tensor([token for _, ids in branches for token in ids], **place))
        ends = accumulate((len(ids) for _, ids in branches), initial=0)
        return [scores[a:b].sum() for a, b in pairwise(ends)]

    def _keep(self, cache: Any, length: int) -> None:
        if (beyond := cache.get_seq_length() - length) > 0:
            # A negative count removes that many in every version; a positive one no longer says what is kept.
            cache.crop(-beyond)

    @torch.inference_mode()
    def _score_apart(self, trunk: Ids, branches: Sequence[Branch], scored_from: int) -> tuple[Floats, Floats]:
        """As `score`, a whole forward for the trunk and for every branch."""
        branched = [self._whole((*trunk[:after], *ids), after).sum() for after, ids in branches]
        return self._whole(trunk, scored_from), np.array(branched)

    def _whole(self, ids: Ids, scored_from: int) -> Floats:
        if scored_from >= len(ids):
            return np.empty(0)
        row = torch.tensor([ids], device=self.model.device)
        logits = self.model(row, use_cache=False, logits_to_keep=len(ids) - scored_from + 1).logits
        return _log_p(logits[0, -(len(ids) - scored_from + 1) : -1], row[0, scored_from:])

    def _shares(self) -> bool:
        """Whether branches that run together score as they do apart, tried on a few tokens."""
        size = min(self.model.config.get_text_config().vocab_size, 1000)
        trunk = tuple(7 * i % size for i in range(1, 13))
        branches = [Branch(4, trunk[2:7]), Branch(9, trunk[5:8]), Branch(4, trunk[:3])]
        apart = self._score_apart(trunk, branches, 2)
        self.branches_share = True
        try:
            together = self.score(trunk, branches, 2)
        except Exception:  # Of a model that takes no such mask, or keeps no such cache: it may raise anything.
            return False
        tolerance = 1e-3 if self.model.dtype == torch.float32 else 0.3
        return all(np.abs(a - b).max() < tolerance for a, b in zip(apart, together, strict=True))


def _log_p(logits_TV: Tensor, ids_T: Tensor) -> Floats:
    return -cross_entropy(logits_TV.float(), ids_T, reduction="none").double().cpu().numpy()


def _mask(branch_T: Tensor, first_T: Tensor, cached: int, dtype: torch.dtype) -> Tensor:
    """[1, 1, T, C + T] to be added to attention scores: a token sees the trunk before its branch, and its branch."""
    trunk_TC = torch.arange(cached, device=first_T.device) < first_T[:, None]
    own_TT = (branch_T[:, None] == branch_T).tril()
    hidden = ~torch.cat([trunk_TC, own_TT], dim=1)
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, torch.finfo(dtype).min)[
        None, None
    ]


def _packs(order: Sequence[int], branches: Sequence[Branch]) -> Iterator[list[int]]:
    """The indices of `order` in runs of at most FORWARD tokens; a longer branch is a run of its own."""
    pack: list[int] = []
    total = 0
    for index in order:
        size = len(branches[index].ids)
        if pack and total + size > FORWARD:
            yield pack
            pack, total = [], 0
        pack.append(index)
        total += size
    if pack:
        yield pack


@dataclass(frozen=True)
class _Request:
    """A text as ids, and the index of its first token that is to be scored."""

    ids: Ids
    scored_from: int


class ServerScorer(_Reader):
    """A model behind an OpenAI-compatible server that echoes prompts with their log-probabilities.

    Prompts are sent as token ids to /completions with echo and logprobs, as vLLM and SGLang answer them; llama.cpp's
    server does not. The server's prefix cache is what makes it fast. The key is OPENAI_API_KEY.
    """

    max_length: int | None = None

    def __init__(self, url: str, tokenizer: Any, model: str | None) -> None:
        from openai import OpenAI

        super().__init__(tokenizer, url)
        self.client = OpenAI(base_url=url, api_key=os.environ.get("OPENAI_API_KEY") or "none")
        self.model = model or self._first_model()

    def _first_model(self) -> str:
        served = getattr(self._asked(self.client.models.list), "data", None)
        if not served:
            raise InputError(f"the server {self.name} lists no model; does its address end in /v1? or give --model")
        return served[0].id

    def _asked(self, ask: Any, **request: Any) -> Any:
        from openai import OpenAIError

        try:
            return ask(**request)
        except OpenAIError as error:
            raise InputError(f"the server {self.name} does not answer ({checkpoint.brief(error)})") from None

    def score(self, trunk: Ids, branches: Sequence[Branch], scored_from: int) -> tuple[Floats, Floats]:
        """See `Scorer`. Raises InputError where the server is down or gives no log-probabilities of a prompt."""
        asked = [_Request((*trunk[:after], *ids), after) for after, ids in branches]
        # One whose own tokens nobody asks for, such as a stranger's history, need not travel.
        own = [_Request(trunk, scored_from)] if scored_from < len(trunk) else []
        found = [
            score for i in range(0, len(own + asked), REQUEST) for score in self._scores((own + asked)[i:][:REQUEST])
        ]
        return (found[0] if own else np.empty(0)), np.array([score.sum() for score in found[len(own) :]])

    def _scores(self, requests: Sequence[_Request]) -> list[Floats]:
        reply = self._asked(
            self.client.completions.create,
            model=self.model,
            prompt=[list(request.ids) for request in requests],
            # Not 0, which some servers refuse: the token that is written is cut off below.
            max_tokens=1,
            echo=True,
            logprobs=1,
            temperature=0,
        )
        # The SDK gives what is no JSON as a text.
        choices = sorted(getattr(reply, "choices", None) or [], key=lambda choice: choice.index)
        if len(choices) != len(requests):
            raise InputError(
                f"the server {self.name} gave {len(choices)} answers to {len(requests)} prompts; is it one?"
            )
        return [self._checked(choice, request) for choice, request in zip(choices, requests, strict=True)]

    def _checked(self, choice: Any, request: _Request) -> Floats:
        scores = (choice.logprobs and choice.logprobs.token_logprobs) or []
        if not 0 <= len(scores) - len(request.ids) <= 1:
            raise InputError(
                f"the server {self.name} gave {len(scores)} log-probabilities of a prompt's {len(request.ids)} tokens; "
                "it must support echo with logprobs (vLLM and SGLang do), and --tokenizer must be its model's"
            )
        return np.array(scores[request.scored_from : len(request.ids)], float)
