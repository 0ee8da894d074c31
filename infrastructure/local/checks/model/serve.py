"""A small language model behind llama.cpp's OpenAI-compatible server.

    serve.py MODEL.gguf --port-file FILE [--context 16384] [--threads 1]

Listens on 127.0.0.1, on a port that the system chooses, writes the port to FILE
when it answers, and ends on SIGTERM or SIGINT.
"""

import argparse
import os
import pathlib
import signal
import socket
import sys

import xllamacpp


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--port-file", required=True)
    parser.add_argument("--context", type=int, default=16384)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()

    parameters = xllamacpp.CommonParams()
    parameters.model.path = options.model
    parameters.n_ctx = options.context
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = options.threads
    parameters.cpuparams_batch.n_threads = options.threads
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = free_port()
    # The model's own chat template.
    parameters.use_jinja = True
    server = xllamacpp.Server(parameters)

    ready = pathlib.Path(options.port_file)
    partial = ready.with_suffix(".part")
    partial.write_text(str(parameters.port))
    os.replace(partial, ready)
    print("listening", server.listening_address, flush=True)
    stopped = signal.sigwait({signal.SIGTERM, signal.SIGINT})
    print("stopped by", signal.Signals(stopped).name, flush=True)
    # The server's threads have no end of their own.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
