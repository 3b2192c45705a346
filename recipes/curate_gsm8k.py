"""GSM8K train with a small teacher on this machine's processors: the server is started, asked, and stopped.

    pip install xllamacpp && bash ../shared/tools/get_models.sh smollm2 models      # 98 MB; qwen15: 1.1 GB
    python recipes/curate_gsm8k.py models/SmolLM2-135M-Instruct.Q4_1.gguf --name smollm2-135m-instruct --problems 8
    python recipes/curate_gsm8k.py models/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf --name qwen2.5-coder-1.5b-instruct \
        --problems 200 --out runs/curate_gsm8k_qwen15

Expected wall time on one idle core: 3 minutes for the first, some hours for the second, to be left in the background;
killed at any moment, the same command goes on. Expected numbers: docs/curation.md.
"""

import argparse
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from nap.curation.curate import Work, curate
from nap.curation.plan import Plan
from nap.curation.teacher import Asking, Endpoint

# Loading 1.1 GB in the background of a busy machine; a server that ends is noticed at once.
START_SECONDS = 3600


@contextmanager
def serving(model: str, name: str, slots: int) -> Iterator[Endpoint]:
    """The model behind an endpoint of its own, on a free port, until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = Path(__file__).with_name("serve_gguf.py" if model.endswith(".gguf") else "serve_hf.py")
    command = [sys.executable, str(script), model, "--name", name, "--port", str(port), "--slots", str(slots)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            url = f"http://127.0.0.1:{port}/v1"
            wait_for(server, f"{url}/models")
            yield Endpoint(url=url, model=name)
        finally:
            server.terminate()


def wait_for(server: "subprocess.Popen[bytes]", url: str) -> None:
    """Return when the URL answers; SystemExit where the server ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise SystemExit("the server does not start; run recipes/serve_gguf.py by hand to see why")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a GGUF file, or a folder of transformers")
    parser.add_argument("--name", required=True)
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--max-tokens", type=int, default=400)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--together", action="store_true", help="ask for the samples of a problem at once")
    parser.add_argument("--tokenizer", default=None, help="of the model to be trained")
    parser.add_argument("--data", default=None, help="GSM8K's train.jsonl, where NAP_DATA does not hold it")
    parser.add_argument("--out", default="runs/curate_gsm8k")
    args = parser.parse_args()

    licences = (("data", "apache-2.0"), ("problems", "mit"), ("teacher", "apache-2.0"))
    plan = Plan(
        task="gsm8k", data=args.data, limit=args.problems, models=(args.name,), max_tokens=args.max_tokens,
        tokenizer=args.tokenizer, licences=licences,
    )  # fmt: skip
    # Slow is not down: with all slots taken a reply may wait for hours.
    in_flight = -(-args.slots // plan.asked) if args.together else args.slots
    asking = Asking(concurrency=in_flight, timeout=86400, together=args.together)
    work = Work(asking=asking, report=lambda done, most: print(done, "of", most, flush=True))
    with serving(args.model, args.name, args.slots) as teacher:
        card = curate(plan, args.out, [teacher], work=work)
    print(json.dumps({name: asdict(card)[name] for name in ("problems", "replies", "accuracy")}, indent=1))


if __name__ == "__main__":
    main()
