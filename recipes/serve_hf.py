"""Serve a folder of transformers to `nap curate`, many replies a forward:

    python recipes/serve_hf.py MODEL_DIR --name qwen2.5-coder-1.5b-instruct --port 8191 --slots 96

prints its address when it listens, and ends with Ctrl-C or SIGTERM. It is meant for processors that multiply bfloat16
(AVX512-BF16, AMX), where xllamacpp's build only uses AVX2; docs/curation.md compares both on one machine. Waiting
prompts are answered as one batch, which each reply leaves when it ends; prompts that arrive meanwhile form the next
batch. `n` replies to a prompt read it once. A reply depends on its seed and, by rounding, on its batch.
Expected wall time: a minute until it listens, then until you stop it.

It knows temperature, max_tokens, seed and n, but not top_p, streams or tools.
"""

import argparse
import json
import queue
import random
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from nap.common.machine import fast_dtype, fast_float32

# Seconds between requests that were sent together.
TOGETHER = 0.5


def grouped_attention(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> tuple[Any, None]:
    """Attention of one new token a row, where the query heads of a key stand in for the queries of a longer text.

    transformers' own repeats all keys and values for them: six times the memory traffic of this, for Qwen2.5-1.5B.
    """
    B, heads, length, width = query.shape
    if length > 1:
        return sdpa_attention_forward(module, query, key, value, mask, **options)
    grouped = query.view(B, key.shape[1], heads // key.shape[1], width)
    found = scaled_dot_product_attention(grouped, key, value, attn_mask=mask, scale=options.get("scaling"))
    return found.reshape(B, 1, heads, width), None


@dataclass(eq=False)
class Reply:
    """One reply that is being written."""

    temperature: float
    most: int
    chance: random.Random
    ids: list[int] = field(default_factory=list)


@dataclass(eq=False)
class Job:
    """A prompt with its replies; `done` when all of them are."""

    prompt: list[int]
    replies: list[Reply]
    done: "Future[None]" = field(default_factory=Future)


class Writer:
    """The model, and the prompts that are waiting."""

    def __init__(self, folder: str, slots: int) -> None:
        AttentionInterface.register("grouped", grouped_attention)
        # Without this a name of one's own is given no mask, and padding is read like text.
        AttentionMaskInterface.register("grouped", sdpa_mask)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        dtype = fast_dtype(torch.device("cpu"))
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, attn_implementation="grouped"
        )
        self.model, self.slots, self.waiting = model.eval(), slots, queue.Queue[Job]()
        ends = model.generation_config.eos_token_id
        self.ends = {*ends} if isinstance(ends, list) else {ends}

    def encode(self, messages: list[dict[str, str]]) -> list[int]:
        """The ids of a conversation, up to where the reply begins."""
        text = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return self.tokenizer.encode(text, add_special_tokens=False)

    def run(self) -> None:
        """Answer waiting prompts, a batch at a time, without end."""
        while True:
            jobs = [self.waiting.get()]
            with suppress(queue.Empty):
                while sum(len(job.replies) for job in jobs) < self.slots:
                    jobs.append(self.waiting.get(timeout=TOGETHER))
            try:
                self.write(jobs)
            except Exception as error:  # A batch that does not fit must not be the end of the server.
                for job in jobs:
                    if not job.done.done():
                        job.done.set_exception(error)

    @torch.inference_mode()
    def write(self, jobs: list[Job]) -> None:
        """Write all replies, one token of each in every forward."""
        cache, longest = DynamicCache(), max(len(job.prompt) for job in jobs)
        rows = [reply for job in jobs for reply in job.replies]
        left = [longest - len(job.prompt) for job in jobs]
        prompt_BL = torch.tensor([[0] * n + job.prompt for n, job in zip(left, jobs, strict=True)])
        seen_BL = torch.arange(longest) >= torch.tensor(left)[:, None]
        logits_BV = self.forward(prompt_BL, seen_BL, cache)
        times = torch.tensor([len(job.replies) for job in jobs])
        logits_BV, seen_BL = logits_BV.repeat_interleave(times, 0), seen_BL.repeat_interleave(times, 0)
        cache.batch_select_indices(torch.arange(len(jobs)).repeat_interleave(times))
        while rows:
            for reply, token in zip(rows, sample(logits_BV, rows), strict=True):
                reply.ids.append(token)
            going = [
                i for i, reply in enumerate(rows) if reply.ids[-1] not in self.ends and len(reply.ids) < reply.most
            ]
            if len(going) < len(rows):
                rows, seen_BL = [rows[i] for i in going], seen_BL[going]
                cache.batch_select_indices(torch.tensor(going, dtype=torch.long))
                self.settle(jobs, rows)
            if rows:
                seen_BL = pad(seen_BL, (0, 1), value=True)
                logits_BV = self.forward(torch.tensor([[reply.ids[-1]] for reply in rows]), seen_BL, cache)

    def settle(self, jobs: list[Job], rows: list[Reply]) -> None:
        """Finish the jobs that have no reply among `rows`."""
        for job in jobs:
            if not job.done.done() and not any(reply in rows for reply in job.replies):
                job.done.set_result(None)

    def forward(self, ids_BT: torch.Tensor, seen_BL: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        """[B, V] logits after the last of T new tokens, where `seen_BL` says which of all tokens are no padding."""
        place_BL = (seen_BL.cumsum(1) - 1).clamp(min=0)
        with fast_float32():
            return self.model(
                ids_BT, attention_mask=seen_BL, position_ids=place_BL[:, -ids_BT.shape[1] :], past_key_values=cache,
                use_cache=True, logits_to_keep=1,
            ).logits[:, -1]  # fmt: skip

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """A chat completion. Raises LookupError, TypeError or ValueError for an invalid request body."""
        if body.get("top_p", 1) != 1 or body.get("stream"):
            raise ValueError("top_p and stream are not known here")
        seed, temperature = body.get("seed", 0), float(body.get("temperature", 1))
        replies = [
            Reply(temperature, int(body.get("max_tokens", 512)), random.Random(f"{seed} {i}"))
            for i in range(int(body.get("n", 1)))
        ]
        job = Job(self.encode(body["messages"]), replies)
        self.waiting.put(job)
        job.done.result()
        ended = [reply.ids[-1] in self.ends for reply in replies]
        texts = [self.tokenizer.decode(reply.ids, skip_special_tokens=True) for reply in replies]
        choices = [
            {
                "index": i,
                "finish_reason": "stop" if end else "length",
                "message": {"role": "assistant", "content": text},
            }
            for i, (end, text) in enumerate(zip(ended, texts, strict=True))
        ]
        written = sum(len(reply.ids) for reply in replies)
        usage = {"prompt_tokens": len(job.prompt), "completion_tokens": written}
        return {"object": "chat.completion", "choices": choices, "usage": usage}


def sample(logits_BV: torch.Tensor, rows: list[Reply]) -> list[int]:
    """A token of each row at its temperature, by its own random number; at temperature 0 the likeliest."""
    heat = torch.tensor([[max(reply.temperature, 1e-6)] for reply in rows])
    sums_BV = torch.softmax(logits_BV.float() / heat, -1).double().cumsum(-1)
    drawn = torch.tensor([[reply.chance.random()] for reply in rows], dtype=torch.double) * sums_BV[:, -1:]
    return torch.searchsorted(sums_BV, drawn, right=True)[:, 0].clamp(max=logits_BV.shape[1] - 1).tolist()


def handler(writer: Writer, name: str) -> type[BaseHTTPRequestHandler]:
    """The handler of the two API addresses that `nap curate` uses."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None: ...

        def do_GET(self) -> None:
            self.say(200, {"object": "list", "data": [{"id": name, "object": "model"}]})

        def do_POST(self) -> None:
            try:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.say(200, writer.answer(body) | {"model": name})
            except (LookupError, TypeError, ValueError) as error:
                self.say(400, {"error": {"message": str(error)}})
            except RuntimeError as error:
                self.say(500, {"error": {"message": str(error)}})

        def say(self, status: int, answer: dict[str, Any]) -> None:
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, default=8191)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--slots", type=int, default=96, help="replies that are written at once")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    writer = Writer(arguments.model, arguments.slots)
    threading.Thread(target=writer.run, daemon=True).start()
    ThreadingHTTPServer.request_queue_size = arguments.slots
    server = ThreadingHTTPServer(("127.0.0.1", arguments.port), handler(writer, arguments.name))
    print(f"listening at http://127.0.0.1:{arguments.port}/v1 ({writer.model.dtype})", flush=True)
    with suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
