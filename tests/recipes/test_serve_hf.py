"""The batch server of recipes/: what a reply says does not depend on what is written beside it."""

import random
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM

from scorers import save_causal
from tiny import recipe

PROMPTS = [[5, 6, 7], [9, 8, 7, 6, 5, 4, 3, 2, 9], [11]]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    made = recipe("serve_hf")
    vars(made)["fast_dtype"] = lambda *_: torch.float32
    folder = save_causal(tmp_path_factory.mktemp("models") / "llama")
    return made, made.Writer(str(folder), 8), folder


def written(served, prompts, temperature, most=12, seed=0):
    made, writer, _ = served
    jobs = [
        made.Job(prompt, [made.Reply(temperature, most + i, random.Random(f"{seed} {i}")) for i in range(3)])
        for prompt in prompts
    ]
    writer.write(jobs)
    assert all(job.done.done() for job in jobs)
    return [[reply.ids for reply in job.replies] for job in jobs]


def test_the_likeliest_tokens_are_those_of_transformers_own_loop(served):
    model: Any = LlamaForCausalLM.from_pretrained(served[2]).eval()
    for prompt, replies in zip(PROMPTS, written(served, PROMPTS, 0.0), strict=True):
        for ids in replies:
            own = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=len(ids), pad_token_id=0)
            assert ids == own[0, len(prompt) :].tolist()
        assert [len(ids) for ids in replies] == [12, 13, 14]


def test_a_reply_depends_on_its_seed_and_not_on_its_neighbours(served):
    together, other = written(served, PROMPTS, 1.0), written(served, PROMPTS, 1.0, seed=1)
    assert [written(served, [prompt], 1.0)[0] for prompt in PROMPTS] == together != other
    assert len({tuple(ids[:12]) for ids in together[0]}) == 3


def test_samples_are_drawn_as_often_as_they_are_likely(served):
    made = served[0]
    chance, weights = random.Random(0), torch.tensor([0.1, 0.6, 0.3])
    rows = [made.Reply(1.0, 1, chance) for _ in range(3000)]
    drawn = torch.tensor(made.sample(weights.log().expand(3000, 3), rows)).bincount(minlength=3) / 3000
    assert torch.allclose(drawn, weights, atol=0.04)
