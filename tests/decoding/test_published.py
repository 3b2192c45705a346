"""The same tokens in the same steps and forwards as published decoders: shared/data/reference/decoders.json.

Where ours differs on purpose, the table says why instead of naming a policy.
"""

import json
from functools import cache
from typing import NamedTuple

import pytest

from conftest import DATA
from nap.canvas.canvas import CanvasSpec, layout
from nap.data.trace import COMMIT, EDIT, REMASK
from nap.decoding.budget import Budget, Sampling
from nap.decoding.decode import decode_traces
from nap.decoding.policies.registry import parse_policy
from nap.models.load import load

FILE = DATA / "reference/decoders.json"
RECORDS = json.loads(FILE.read_text()) if FILE.is_file() else []
KINDS = {COMMIT: "commit", REMASK: "remask", EDIT: "edit"}


class Ours(NamedTuple):
    """How a recorded decode is asked for here."""

    policy: str
    budget: Budget | None = None
    cache: str = "none"
    guidance: float = 0.0


def ours(record) -> Ours | None:
    """The policy and budget of a record that uses a policy of ours; None for the others."""
    name, settings, block = record["name"], record["settings"], record["block_length"]
    steps = Budget(steps=settings["steps"]) if "steps" in settings else None
    dream = Budget(steps=settings["steps"], schedule="dream") if steps and settings.get("alg") else None
    kept = next((cache for cache in ("prefix", "dual") if cache in name), "none")
    match name.split(".")[0], settings:
        case ("fast_dllm" | "fast_dllm_v1" | "dllm_port", {"threshold": tau}):
            return Ours(f"threshold:tau={tau},block={block}", None, kept)
        case ("dllm_port", {"factor": f}):
            return Ours(f"factor:f={f},block={block}", None, kept)
        case ("fast_dllm_pp", {"frechet_margin": delta}):
            return Ours(f"bounded:delta={delta},block={block}", None, kept)
        case ("dinfer", {"credit_alpha": alpha, "boost_gamma": gamma, "decay_beta": beta, "threshold": tau}):
            return Ours(f"credit:tau={tau},alpha={alpha},beta={beta},gamma={gamma},block={block}")
        case ("saber", {"n": n}):
            return Ours(f"saber:n={n},block={block}")
        case ("open_dllm", {"alg": "p2"}):
            return Ours("p2", steps)
        case ("prophet", {"thresholds": {"early": early, "mid": middle, "late": late}}):
            gaps = f"early={early},middle={middle},late={late}"
            return Ours(f"prophet:{gaps},answer=5,at=20,block={block}", steps)
        case ("llada", {"cfg_scale": scale}):
            return Ours(f"low_confidence:block={block}", steps, guidance=scale)
        case ("wino", {"threshold": tau, "threshold_back": back}):
            return Ours(f"wino:tau={tau},back={back},block={block}")
        case ("localleap", {"threshold": tau, "relaxed_threshold": relaxed, "radius": radius}):
            return Ours(f"localleap:tau={tau},relaxed={relaxed},radius={radius},block={block}")
        case ("fast_dllm" | "fast_dllm_v1", {"steps": _}) if not {"frechet_margin", "factor"} & {*settings}:
            return Ours(f"low_confidence:block={block}", steps, kept)
        case ("saber", _) if name in ("saber.baseline.entropy", "saber.baseline.margin"):
            return Ours(name.rpartition(".")[2], steps)
        case ("klass", {"conf_threshold": tau, "kl_threshold": eps, "kl_history_length": h}):
            return Ours(f"klass:tau={tau},eps={eps},history={h},block={block}", steps)
        case ("remdm", {"init_unmask_ratio": ratio, "unmask_k": k, "loop_steps": loops}):
            return Ours(f"remdm:ratio={ratio},k={k},loops={loops}")
        case ("llada21", {"threshold": tau, "editing_threshold": edit, "num_to_transfer": n, "max_post_steps": post}):
            return Ours(f"token_edit:tau={tau},edit={edit},least={n},patience={post},size={block}")
        case ("d3llm", {"entropy_threshold": h, "block_add_threshold": add, "decoded_token_threshold": ready}):
            return Ours(f"multi_block:entropy={h},add={add},ready={ready},size={block}")
        case ("dream", {"alg": "maskgit_plus" | "entropy" | "topk_margin" as rule}) if not settings.get("alg_temp"):
            rules = {"maskgit_plus": "low_confidence", "entropy": "entropy", "topk_margin": "margin"}
            return Ours(rules[rule], dream)
        case ("dkv_cache", {"cache_reloading_step": refresh}):
            return Ours(f"low_confidence:block={block}", steps, f"delayed:refresh={refresh}")
    return None


# Records of policies that are here, which ours does not repeat, and why.
DIFFERENT = {
    "fast_dllm_v1.generate.factor": "off by one: where the last rank fails it is committed all the same",
    "fast_dllm_v1.prefix_cache.factor": "the same",
    "fast_dllm_pp.prefix_cache.frechet-0.8": "its second most sure candidate of the first step is the mask: no commit",
    "saber.n3": "with fewer masks than n it writes over a token that stands, too",
    "open_dllm.p2.steps16": "lets the mask be the candidate of what is written, and so keeps a token for its sake",
    "dllm_port.none.steps12": "spreads 16 tokens over 6 steps as 3 3 2 3 2 3, LLaDA and we as 3 3 3 3 2 2",
    "dllm_port.prefix.steps12": "the same",
    "saber.baseline.entropy.blocks": "commits beyond the block, and leaves masks",
    "saber.baseline.margin.blocks": "the same",
    "dinfer.threshold": "lowers the threshold to 1e-5 below the best, so that what ties with the best goes with it",
    "dinfer.hierarchy": "has two thresholds, which our hierarchy has not",
    "dream.maskgit_plus.G32.steps16": "lets the mask be a candidate: from step 8 on it commits it four times",
    "dawn.": "writes over the prompt's first token; test_attention.py repeats it with that flaw",
    "sdar.": "counts a forward that fills its cache before the first block, and one after each",
}


@pytest.fixture(scope="module")
def models(nap_data):
    @cache
    def opened(name, block_size=None):
        return load(str(nap_data / "reference" / name), block_size=block_size)

    return opened


def decoded(record, wanted, models):
    """(tokens, commit steps, forwards, events) of each prompt of a record, all in one batch."""
    own_blocks = {"block_size": record["block_length"]} if record["checkpoint"] == "sdar" else {}
    denoiser = models(record["checkpoint"], **own_blocks)
    prompts = record["prompt"] if isinstance(record["prompt"][0], list) else [record["prompt"]]
    spec = CanvasSpec(paths=1, path_tokens=record["gen_length"], summary_tokens=0, tags="none")
    canvases = [layout(prompt, spec, None, denoiser.mask_id) for prompt in prompts]
    told = {"budget": wanted.budget, "sampling": Sampling(guidance=wanted.guidance), "cache": wanted.cache}
    traces = decode_traces(denoiser, canvases, parse_policy(wanted.policy), **told)
    for prompt, trace in zip(prompts, traces, strict=True):
        start, last = len(prompt), {event.position: event.step for event in trace.events if event.kind != REMASK}
        steps = [last[start + i] for i in range(record["gen_length"])]
        events = sorted([e.step, KINDS[e.kind], e.position - start, e.token] for e in trace.events)
        yield trace.final[start:], steps, trace.forwards, events


NAMES = [record["name"] for record in RECORDS if ours(record) and record["name"] not in DIFFERENT]


def test_enough_is_recorded(nap_data):
    assert len(NAMES) >= 73


@pytest.mark.parametrize("name", NAMES)
def test_the_tokens_steps_and_forwards_are_those_of_the_published_code(name, models):
    record = next(record for record in RECORDS if record["name"] == name)
    found = [*decoded(record, ours(record), models)]
    several = isinstance(record["prompt"][0], list)
    tokens = record["tokens"] if several else [record["tokens"]]
    steps = record["commit_step"] if several else [record["commit_step"]]
    assert [row[0] for row in found] == tokens
    assert [row[1] for row in found] == steps
    assert {row[2] for row in found} == {record["forwards"]}
    if "events" in record:
        assert found[0][3] == sorted(record["events"])


# SDAR: block-causal, its finished blocks in a cache


def block_policy(record) -> Ours | None:
    """How a decode of SDAR is asked for here; None for one whose prompt ends within a block, and one that draws."""
    settings, block, steps = record["settings"], record["block_length"], record["settings"]["denoising_steps"]
    budget = Budget(steps=record["gen_length"] // block * steps)
    if len(record["prompt"]) % block or "sampled" in record["name"]:
        return None
    match settings["remasking_strategy"]:
        case "low_confidence_static":
            return Ours(f"low_confidence:block={block}", budget, "exact")
        case "low_confidence_dynamic" if steps == block:
            return Ours(f"threshold:tau={settings['confidence_threshold']},block={block}", None, "exact")
        case "sequential":
            return Ours("ar", budget, "exact")
    return None


BLOCKS = [record["name"] for record in RECORDS if record["name"].startswith("sdar.") and block_policy(record)]


def test_enough_of_sdar_is_recorded(nap_data):
    assert len(BLOCKS) >= 7


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_causal_model_writes_what_its_published_loop_writes_from_its_own_block_cache(name, models):
    """SDAR's loop has forwards that only fill its cache; ours does that in the next block's first forward."""
    record = next(record for record in RECORDS if record["name"] == name)
    wanted = block_policy(record)
    assert wanted
    ((tokens, steps, forwards, _),) = decoded(record, wanted, models)
    ((same, *_),) = decoded(record, wanted._replace(cache="none"), models)
    assert tokens == same == record["tokens"]
    committing = [number for number, count in enumerate(record["commits_per_forward"]) if count]
    assert steps == [committing.index(step) for step in record["commit_step"]]
    assert forwards == len(committing) < record["forwards"]
