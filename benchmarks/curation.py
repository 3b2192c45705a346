"""What the curation harness costs: time beside a teacher that replies in 50 ms, memory and time of 100,000 problems.

    python benchmarks/curation.py overhead            # 2 min: 64 requests in flight, three clients
    python benchmarks/curation.py size --problems 100000   # 2 min: memory, and the time of a second and a third run

The stub teacher runs in a process of its own. A teacher with 64 slots and 50 ms a reply gives at most 1,280 replies a
second. `overhead` compares three clients with that, and with the time that the stub measured for its replies (timers
are late by a part of a millisecond): raw sockets without HTTP or error handling, which is the least that Python can do;
the openai SDK used as documented; and the harness with its journal. Connecting and closing count. The raw sockets show
the cost of the wire and the event loop, and the last lines what each client adds to that. It needs two free cores.
"""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

from nap.curation.curate import Work, curate
from nap.curation.journal import Journal, Reply, Request
from nap.curation.plan import Plan
from nap.curation.teacher import Asking, Endpoint, ask
from nap.tasks.registry import load_task

STUB = Path(__file__).parent.parent / "tests/stub_teacher.py"
LEAN = Path(__file__).with_name("lean_teacher.py")


def serve(port: int, latency: float, stub: Path = STUB) -> tuple[subprocess.Popen[str], str]:
    child = subprocess.Popen([sys.executable, str(stub), str(port), str(latency)], stdout=subprocess.PIPE, text=True)
    assert child.stdout
    return child, child.stdout.readline().strip()


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def sockets(url: str, requests: list[Request], concurrency: int) -> None:
    """The same requests as bytes on raw sockets: the cost of the event loop, the sockets and JSON alone."""

    class Connection(asyncio.Protocol):
        found: "asyncio.Future[bytes]"

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.found.set_result(data)

    async def main() -> None:
        loop, waiting, port = asyncio.get_running_loop(), iter(requests), urlsplit(url).port

        async def worker() -> None:
            _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
            for request in waiting:
                body = json.dumps({"model": "m", "messages": [{"role": "user", "content": request.prompt}]}).encode()
                connection.found = loop.create_future()
                connection.transport.write(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                json.loads((await connection.found).partition(b"\r\n\r\n")[2])
            connection.transport.close()

        await asyncio.gather(*(worker() for _ in range(concurrency)))

    asyncio.run(main())


def sdk(url: str, requests: list[Request], concurrency: int) -> None:
    """The same requests by the openai SDK, used as documented, without journal, retries or checks."""
    from openai import AsyncOpenAI

    async def main() -> None:
        waiting = iter(requests)
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

            async def worker() -> None:
                for request in waiting:
                    await client.chat.completions.create(
                        model="m", messages=[{"role": "user", "content": request.prompt}], seed=request.index
                    )

            await asyncio.gather(*(worker() for _ in range(concurrency)))

    asyncio.run(main())


def harness(url: str, requests: list[Request], concurrency: int) -> None:
    """`ask`, as `nap curate` calls it."""
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "j.sqlite") as journal:
        groups = ([request] for request in requests)
        ask([(Endpoint(url=url, model="m"), groups)], journal, Asking(concurrency=concurrency))


CLIENTS = {"sockets": sockets, "openai SDK": sdk, "harness": harness}


def overhead(args: argparse.Namespace) -> None:
    child, url = serve(args.port, args.latency, LEAN)
    took: dict[str, list[float]] = {name: [] for name in CLIENTS}
    try:
        for client in CLIENTS.values():
            client(url, [Request(model="m", prompt="P")], 1)  # what only the first call costs: imports
        for name, client in list(CLIENTS.items()) * args.repeats:
            requests = [Request(model="m", prompt=f"Problem {n}") for n in range(args.requests)]
            spent(url)
            started, used = time.perf_counter(), cpu()
            client(url, requests, args.concurrency)
            seconds, own, teacher = time.perf_counter() - started, cpu() - used, spent(url)
            assert teacher["replies"] == args.requests
            ideal = args.requests * args.latency / args.concurrency
            found = {
                "client": name, "requests": args.requests, "seconds": round(seconds, 2),
                "over_ideal_percent": round(100 * (seconds / ideal - 1), 2),
                "over_teacher_percent": round(100 * (seconds * args.concurrency / teacher["seconds"] - 1), 2),
                "teacher_ms_a_reply": round(1000 * teacher["seconds"] / args.requests, 2),
                "cpu_ms_a_request": round(1000 * own / args.requests, 3),
                "teacher_cpu_ms_a_request": round(1000 * teacher["cpu_seconds"] / args.requests, 3),
            }  # fmt: skip
            print(json.dumps(found), flush=True)
            took[name].append(seconds)
    finally:
        child.kill()
    for name in ("openai SDK", "harness"):
        added = [round(100 * (a / b - 1), 2) for a, b in zip(took[name], took["sockets"], strict=True)]
        print(json.dumps({"client": name, "over_raw_sockets_percent": added}), flush=True)


def spent(url: str) -> dict[str, float]:
    with urlopen(url.replace("/v1", "/spent")) as response:
        return json.load(response)


def fill(plan: Plan, path: Path) -> None:
    """The journal of a run that has all its replies, without asking for them."""
    with Journal(path) as journal:
        for problem in load_task(plan.task).load(path=plan.data):
            for request in plan.requests(problem, [*plan.templates.values()]):
                text = "Tom has some apples and buys 7 more.\n" * 20 + f"So it is \\boxed{{{request.index}}}"
                journal.add(request, Reply(text=text, model="m", prompt_tokens=50, completion_tokens=200))


def size(args: argparse.Namespace) -> None:
    folder = Path(args.folder or tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    problems = folder / "problems.jsonl"
    with problems.open("w") as file:
        file.writelines(
            json.dumps({"prompt": f"Tom has {n} apples and buys 7 more. How many has he?", "answer": n + 7}) + "\n"
            for n in range(args.problems)
        )
    child, url = serve(args.port, 0.0)
    plan = Plan(task="jsonl", data=str(problems), models=("m",), paths=args.paths, max_overlap=1.0)
    if args.filled:
        fill(plan, folder / "run/journal.sqlite")
    try:
        for name in ("first run", "again, finished", "again, its files deleted"):
            if name.endswith("deleted"):
                for file in ("card.json", "samples.parquet", "longchain.parquet"):
                    (folder / "run" / file).unlink()
            started, used = time.perf_counter(), cpu()
            work = Work(asking=Asking(concurrency=64))
            card = curate(plan, folder / "run", [Endpoint(url=url, model="m")], work=work)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            found = {
                "what": name,
                "problems": args.problems,
                "paths": args.paths,
                "samples": card.problems["sample"],
            }
            found |= {"seconds": round(time.perf_counter() - started, 1), "cpu_seconds": round(cpu() - used, 1)}
            found |= {"peak_MiB": round(memory)}
            print(json.dumps(found), flush=True)
    finally:
        child.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["overhead", "size"])
    parser.add_argument("--requests", type=int, default=12288)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--problems", type=int, default=100_000)
    parser.add_argument("--paths", type=int, default=1)
    parser.add_argument("--port", type=int, default=8192)
    parser.add_argument("--filled", action="store_true", help="do not ask: fill the journal first")
    parser.add_argument("--folder")
    args = parser.parse_args()
    {"overhead": overhead, "size": size}[args.what](args)


if __name__ == "__main__":
    main()
