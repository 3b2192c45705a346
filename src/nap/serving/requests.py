"""What a client asks for, in the words of OpenAI's API, read into the settings of a decode.

Every field is followed or refused by name: one that would be ignored changes what the client believes to have measured.
Fields of OpenAI's that a diffusion model has no answer to (`logprobs`, `tools`, ...) may be there with the value that
asks for nothing. Does not lay out, decode or answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

from nap.canvas.canvas import TOKENS, CanvasSpec
from nap.common.arguments import checked_fields
from nap.common.bounds import CHOICES, SEED, Bound, check
from nap.common.files import InputError
from nap.common.text import check_known
from nap.decoding.budget import Budget, Eos, Sampling, Told
from nap.decoding.policies.policy import Policy
from nap.decoding.policies.registry import parse_policy

Turns = tuple[tuple[str, str], ...]
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
# The most characters of a stop text, and of a policy.
STOP, NAMED = Bound(1, 256, "each is looked for in every step"), Bound(1, 256, "none is longer")
# What OpenAI's API has and a canvas has not, and the values that ask for nothing.
NOTHING: dict[str, Sequence[object]] = {
    "frequency_penalty": (0,), "presence_penalty": (0,), "logit_bias": ({},), "logprobs": (False,), "top_logprobs": (),
    "tools": ([],), "tool_choice": ("none", "auto"), "parallel_tool_calls": (True, False), "functions": ([],),
    "response_format": ({"type": "text"},), "modalities": (["text"],), "echo": (False,), "suffix": ("",),
    "best_of": (1,), "store": (False,), "service_tier": ("auto", "default"),
}  # fmt: skip
# What says who asks, and changes no answer.
PASSED = ("user", "metadata", "safety_identifier", "prompt_cache_key")


@checked_fields
@dataclass(frozen=True, kw_only=True)
class Body:
    """The fields of a request that are followed; `tokens_per_step` and what stands below it are ours."""

    model: str | None = None
    messages: list | None = None
    prompt: str | Sequence[str] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    seed: int | None = None
    stop: str | Sequence[str] | None = None
    stream: bool | None = None
    stream_options: dict | None = None
    tokens_per_step: int | None = None
    steps: int | None = None
    policy: str | None = None
    top_k: int | None = None
    guidance: float | None = None
    eos: str | None = None
    trace: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What the server decodes by where a request says nothing.

    policy_said  the policy in the words of the command, with a second model that it asks
    max_tokens   the most tokens of an answer that a request may ask for
    """

    policy: Policy
    budget: Budget
    sampling: Sampling
    eos: Eos
    seed: int
    spec: CanvasSpec | None
    policy_said: str
    max_tokens: int


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A request that was understood.

    prompts  the turns of a chat, or one text or more, each of which gets `n` answers
    sized    whether it says how long an answer may be; otherwise a plain slot has no more tokens than there is room for
    stops    texts before which an answer ends
    usage    whether a stream ends with a chunk that counts tokens
    trace    whether each answer comes with the trace of how it was decoded
    """

    model: str | None
    prompts: tuple[Turns, ...] | tuple[str, ...]
    spec: CanvasSpec
    sized: bool
    policy: Policy
    told: Told
    stops: tuple[str, ...]
    n: int
    stream: bool
    usage: bool
    trace: bool


def read_request(body: object, defaults: Defaults, *, chat: bool) -> Wanted:
    """The request in a JSON body. Raises InputError that names the field and what it may be."""
    if not isinstance(body, Mapping):
        raise InputError(f"the body must be a JSON object, got {body!r:.60}")
    told = _followed(body)
    asked = Body(**told)
    if asked.prompt is not None if chat else asked.messages is not None:
        raise InputError("a chat has messages, a completion has a prompt; this request has the other")
    policy, budget = _pace(asked, defaults)
    options = asked.stream_options or {}
    for name, value in options.items():
        check_known("stream option", name, ("include_usage", "include_obfuscation"))
        if not isinstance(value, bool):
            raise InputError(f"{name} must be true or false, got {value!r:.60}")
    if options and not asked.stream:
        raise InputError("stream_options are for a stream; set stream, or drop them")
    n, seed = asked.n or 1, defaults.seed if asked.seed is None else asked.seed
    eos: Any = asked.eos or defaults.eos
    check_known("eos setting", eos, get_args(Eos))
    if asked.n is not None:
        check("n", asked.n, CHOICES)
    check("seed", seed, SEED)
    prompts = (_turns(asked.messages),) if chat else _texts(asked.prompt)
    check("answers of a request", n * len(prompts), CHOICES)
    tokens = _length(asked, defaults.max_tokens)
    return Wanted(
        model=asked.model, prompts=prompts, spec=slots_for(defaults.spec, tokens), sized=tokens is not None,
        policy=policy,
        told={"budget": budget, "sampling": _sampling(asked, defaults.sampling), "eos": eos, "seed": seed},
        stops=_stops(asked.stop), n=n, stream=bool(asked.stream), usage=bool(options.get("include_usage")),
        trace=bool(asked.trace),
    )  # fmt: skip


def slots_for(own: CanvasSpec | None, tokens: int | None) -> CanvasSpec:
    """The canvas of an answer of at most so many tokens: a plain one is as long as that, any other is as it is.

    Raises InputError where the slot of the answer is longer.
    """
    if own is None or own.kind == "plain":
        spec = own or CanvasSpec.plain(TOKENS)
        return replace(spec, path_tokens=tokens) if tokens else spec
    if tokens and tokens < (slot := own.summary_tokens or own.path_tokens):
        raise InputError(
            f"max_tokens is {tokens}, and this model's canvas has {slot} for an answer, which are all written; ask "
            f"for at least {slot}, or for none (nap serve --canvas plain gives an answer as many as it asks for)"
        )
    return own


def _followed(body: Mapping[str, object]) -> dict[str, Any]:
    """The fields that are followed. Raises InputError for any other that asks for something."""
    names = [field.name for field in fields(Body)]
    for name, value in body.items():
        if name in NOTHING and value is not None and not any(_same(value, one) for one in NOTHING[name]):
            raise InputError(f"{name} {value!r:.60} is nothing that a canvas can give; drop it")
        if name not in NOTHING:
            check_known("field", name, [*names, *PASSED], "docs/how-to/serve.md")
    return {name: body[name] for name in names if name in body}


def _same(value: object, other: object) -> bool:
    """Whether both are equal and of one kind: False is not 0, but 0.0 is."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _pace(asked: Body, defaults: Defaults) -> tuple[Policy, Budget]:
    """The policy and its budget; a request that names a policy sets its pace too."""
    if asked.policy is None and asked.tokens_per_step is None and asked.steps is None:
        return defaults.policy, defaults.budget
    policy = defaults.policy
    if asked.policy is not None and asked.policy != defaults.policy_said:
        check("characters of policy", len(asked.policy), NAMED)
        if "guide" in asked.policy:
            raise InputError("which second model is asked (guide) is the server's choice; name a policy without one")
        policy = parse_policy(asked.policy)
    budget = Budget.of(policy, asked.tokens_per_step, asked.steps)
    budget.check(policy)
    return policy, budget


def _sampling(asked: Body, usual: Sampling) -> Sampling:
    names = ("temperature", "top_p", "top_k", "guidance")
    told = {name: value for name in names if (value := getattr(asked, name)) is not None}
    # The server's own top_p and top_k are for its own temperature.
    return replace(Sampling(guidance=usual.guidance) if told.get("temperature") == 0 else usual, **told)


def _length(asked: Body, most: int) -> int | None:
    both = {"max_tokens": asked.max_tokens, "max_completion_tokens": asked.max_completion_tokens}
    told = {name: value for name, value in both.items() if value is not None}
    for name, value in told.items():
        check(name, value, Bound(1, most, "nap serve --max-tokens allows no more"))
    if len({*told.values()}) > 1:
        raise InputError("max_tokens and max_completion_tokens differ; give one of them")
    return next(iter(told.values()), None)


def _stops(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
    check("stop texts", max(1, len(stops)), CHOICES)
    for stop in stops:
        check("characters of a stop text", len(stop), STOP)
    return stops


def _texts(prompt: str | Sequence[str] | None) -> tuple[str, ...]:
    texts = (prompt,) if isinstance(prompt, str) else tuple(prompt or ())
    if not texts:
        raise InputError("a completion needs a prompt: a text, or a list of texts")
    return texts


def _turns(messages: list | None) -> Turns:
    """(role, text) of each message, the user's last."""
    if not messages:
        raise InputError("a chat needs messages, each with a role and a content")
    turns = tuple(_turn(number, message) for number, message in enumerate(messages))
    if turns[-1][0] != "user":
        raise InputError(f"the last message must be the user's, got one of {turns[-1][0]!r}")
    return turns


def _turn(number: int, message: object) -> tuple[str, str]:
    where = f"messages[{number}]"
    if not isinstance(message, Mapping):
        raise InputError(f"{where} must be an object with a role and a content, got {message!r:.60}")
    for name, value in message.items():
        if name not in ("role", "content", "name") and value not in (None, [], ""):
            raise InputError(f"{where}: {name} is nothing that a canvas can read; drop it")
    check_known(f"role of {where}", message.get("role"), ROLES)
    return ROLES[message["role"]], _content(where, message.get("content"))


def _content(where: str, content: object) -> str:
    """A text, or the texts of its parts one after the other."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None for part in parts]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise InputError(f"{where}: its content must be a text or a list of texts, got {content!r:.60}")
    return "".join(map(str, texts))
