"""Serve a GGUF file to `nap curate`, on processors alone: `pip install xllamacpp`, then

    python recipes/serve_gguf.py MODEL.gguf --name smollm2 --port 8191 --slots 4

prints its address when it listens, and ends with Ctrl-C or SIGTERM. One thread is best on a busy machine. The journal
stores the model under this name; without one it would be the path of the file, which differs between machines.
Expected wall time: seconds until it listens, then until you stop it.
"""

import argparse
import signal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, default=8191)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--slots", type=int, default=4, help="replies that are written at once")
    parser.add_argument("--context", type=int, default=2048, help="tokens of each slot")
    arguments = parser.parse_args()

    import xllamacpp  # pyright: ignore[reportMissingImports]

    settings = xllamacpp.CommonParams()
    settings.model.path = arguments.model
    settings.model_alias = {arguments.name}
    settings.hostnames = ["127.0.0.1"]
    settings.port = arguments.port
    settings.n_parallel = arguments.slots
    settings.n_ctx = arguments.context * arguments.slots
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = arguments.threads
    settings.warmup = False
    server = xllamacpp.Server(settings)
    print(f"listening at {server.listening_address}/v1", flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
