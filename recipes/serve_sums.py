"""A teacher for trying `nap curate` without a model: it solves the problems of the task `arith`, in three ways.

    python recipes/serve_sums.py --port 8099 --wrong 0.2

prints its address when it listens, and ends with Ctrl-C or SIGTERM. It supports the part of the OpenAI protocol that
`nap curate` needs; docs/tutorials/teacher.md uses it in place of your own endpoint. The seeds use the three ways of
solving of `nap.tasks.arith` in turn, and a share `--wrong` of the replies misreads a number. Expected wall time: it
listens at once, until you stop it.

It uses seeds, and ignores temperatures, limits and everything else. A prompt that is not a problem of `arith` is
refused (400).
"""

import argparse
import json
import random
import re
import signal
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from nap.tasks.arith import WRITERS, Arith, Graph, Person, misreadings

SENTENCE = re.compile(r"(\w+) has (?:(\d+) (?:\w+ \.|(more|fewer) than (\w+) \.)|(\w+) and (\w+) together \.)")


def read_graph(prompt: str) -> Graph:
    """The people of a prompt, each after those that its sentence refers to. Raises ValueError for any other text."""
    waiting = []
    for name, number, change, than, left, right in SENTENCE.findall(prompt):
        if left:
            waiting.append(Person(name, left, "+", right))
        elif change:
            waiting.append(Person(name, than, "+" if change == "more" else "-", int(number)))
        else:
            waiting.append(Person(name, int(number)))
    goal = re.search(r"How many has (\w+) \?", prompt)
    people: list[Person] = []
    while ready := [person for person in waiting if {known.name for known in people}.issuperset(person.needs)]:
        people += ready
        waiting = [person for person in waiting if person not in ready]
    if waiting or not goal or goal[1] not in {person.name for person in people}:
        raise ValueError("this is no problem of the task arith")
    return Graph(tuple(people), goal[1])


def solve(prompt: str, seed: int, wrong: float) -> str:
    """The solution that this teacher writes with a seed."""
    graph, rng = read_graph(prompt), random.Random(f"{prompt}/{seed}")
    if rng.random() < wrong:
        graph = rng.choice(misreadings(graph, Arith().largest) or [graph])
    return WRITERS[seed % len(WRITERS)](graph, rng)


class Teacher(BaseHTTPRequestHandler):
    """One request of `nap curate`."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments: Any, wrong: float) -> None:
        self.wrong = wrong
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """What models there are."""
        self.answer(200, {"data": [{"id": "sums"}]})

    def do_POST(self) -> None:
        """A completion: `n` solutions from `n` seeds."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt, first = body["messages"][-1]["content"], body.get("seed", 0)
        try:
            texts = [solve(prompt, first + i, self.wrong) for i in range(body.get("n", 1))]
        except ValueError as error:
            return self.answer(400, {"error": {"message": str(error)}})
        said = [
            {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            for i, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": sum(len(text.split()) for text in texts)}
        self.answer(200, {"object": "chat.completion", "model": "sums", "choices": said, "usage": usage})

    def answer(self, status: int, body: dict[str, Any]) -> None:
        """Send JSON."""
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8099, help="0: any that is free")
    parser.add_argument("--wrong", type=float, default=0.2, help="share of the replies that misread a number")
    options = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", options.port), partial(Teacher, wrong=options.wrong))
    signal.signal(signal.SIGTERM, lambda *_: exit(0))
    print(f"http://127.0.0.1:{server.server_address[1]}/v1", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
