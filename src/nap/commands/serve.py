"""`nap serve`: a model behind OpenAI's API, so that any client of that API can ask it.

Does not serve (serving/); reads the flags and says where the server is.
"""

import os
from dataclasses import asdict, dataclass, replace
from typing import Annotated

from tyro.conf import OmitArgPrefixes, arg

from nap.commands import progress
from nap.commands.flags import CanvasFlags, Drawing, Loading, Whole, Words
from nap.common.bounds import DECODED, PORT, SEED, SLOT_TOKENS, check
from nap.common.files import InputError
from nap.common.text import printable, say

KEY_ENV = "NAP_API_KEY"


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Serve a model behind OpenAI's API; requests share forwards."""

    model: Annotated[str, arg(aliases=["--models"])]
    """a bundled name, such as agree-nap (all of them: docs/models.md), a folder, or a hub name"""
    host: str = "127.0.0.1"
    """the address to listen at; 0.0.0.0 is every network of this machine"""
    port: int = 8000
    """the port; 0 takes any that is free, and says which"""
    name: Words = None
    """what clients call the model (default: --model)"""
    key_env: str = KEY_ENV
    """the environment variable with the key that clients must send; where it is empty, none is asked for"""
    rows: int = 8
    """requests that are written at once; fewer where they do not fit in memory"""
    max_tokens: int = 4096
    """the most tokens of an answer that a request may ask for"""
    waiting: int = 64
    """requests that may wait for a place; more are told to come back (429)"""
    policy: str = "parallel_forced"
    """name or name:setting=value,... such as threshold:tau=0.8, where a request names none"""
    tokens_per_step: Whole = None
    """how many tokens a step writes, for a policy that follows a budget (default: 1)"""
    steps: Whole = None
    """fill the canvas in this many steps, in place of --tokens-per-step"""
    cache: str = "none"
    """which keys and values are kept between forwards: none, exact, prefix, dual, delayed, d2 or drift
    (docs/caches.md)"""
    canvas: OmitArgPrefixes[CanvasFlags] = CanvasFlags()
    drawing: OmitArgPrefixes[Drawing] = Drawing()
    loading: OmitArgPrefixes[Loading] = Loading()

    def run(self) -> None:
        """Open the model, and serve it until a signal."""
        from nap.canvas.canvas import TOKENS
        from nap.decoding.budget import Budget
        from nap.decoding.needs import check_needs
        from nap.decoding.policies.registry import parse_policy
        from nap.decoding.prompt import asked_canvas, readable
        from nap.models.any import load
        from nap.models.caches import cache_of
        from nap.serving.api import Service, serve
        from nap.serving.requests import Defaults
        from nap.serving.scheduler import Scheduler

        check("port", self.port, PORT)
        check("rows", self.rows, DECODED)
        check("waiting", self.waiting, DECODED)
        check("max tokens", self.max_tokens, SLOT_TOKENS)
        check("seed", self.drawing.seed, SEED)
        cache_of(self.cache)
        unsaid = self.canvas.canvas == "plain" and self.canvas.path_tokens is None
        wanted = (replace(self.canvas, path_tokens=TOKENS) if unsaid else self.canvas).spec()
        policy, sampling = parse_policy(self.policy), self.drawing.sampling()
        budget = Budget.of(policy, self.tokens_per_step, self.steps)
        budget.check(policy)
        key = os.environ.get(self.key_env, "").strip()
        if not key and self.key_env != KEY_ENV:
            raise InputError(f"the environment has no key in {self.key_env}; put one there, or drop --key-env")
        with progress.bar("", f"loading {printable(self.model)}"):
            denoiser = load(self.model, **asdict(self.loading))
        readable(denoiser)
        check_needs(policy, denoiser, self.cache, sampling.guidance)
        told = wanted or denoiser.canvas or self.canvas.attention
        spec = asked_canvas(denoiser, wanted, self.canvas.attention) if told else None
        defaults = Defaults(
            policy=policy,
            budget=budget,
            sampling=sampling,
            eos=self.drawing.eos,
            seed=self.drawing.seed,
            spec=spec,
            policy_said=self.policy,
            max_tokens=self.max_tokens,
        )
        local = self.host in ("localhost", "127.0.0.1", "::1")
        scheduler = Scheduler(denoiser, cache=self.cache, rows=self.rows, waiting=self.waiting)
        name = self.name or self.model
        service = Service(
            denoiser=denoiser, scheduler=scheduler, defaults=defaults, name=name, key=key or None, local=local
        )
        if not (local or key):
            say(f"anybody who can reach {self.host} may ask this model; put a key into {self.key_env} to change that")
        serve(
            service, host=self.host, port=self.port, ready=lambda url: say(f"{name} answers at {url}; Ctrl-C ends it")
        )
