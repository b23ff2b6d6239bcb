"""What serving costs: the speed of streams through `sterna serve` beside that of the engine alone, and the processor
time and memory of an idle server.

    python benchmarks/serve.py [MODEL] [--tokens 128] [--streams 8] [--repetitions 3] [--threads N]

A server runs in a process of its own. The engine alone runs in this one, in turns with the server, so that both see
the same minutes of the machine; the client, which only reads, is this process too.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from sterna import LLM
from sterna.files.embedded import EMBEDDED_MODEL

PROMPT = 8
"""Tokens before the first one that is timed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("model", nargs="?", default=str(EMBEDDED_MODEL))
    parser.add_argument("--tokens", type=int, default=128, help="tokens of each stream")
    parser.add_argument("--streams", type=int, default=8, help="streams that run together")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    threads = [] if given.threads is None else ["--threads", str(given.threads)]
    with LLM(given.model, threads=given.threads) as llm, serving([given.model, *threads]) as server:
        prompts = [
            [(7 * stream + token) % llm.vocab_size for token in range(PROMPT)] for stream in range(given.streams)
        ]
        llm.settle()
        server.decode(prompts[:1], given.tokens)
        alone, one, together_alone, together = [], [], [], []
        for _ in range(given.repetitions):
            alone.append(llm.complete(prompts[:1], max_tokens=given.tokens, ignore_eos=True)[0].decode_tps)
            one.append(server.decode(prompts[:1], given.tokens))
            begun = time.perf_counter()
            llm.complete(prompts, max_tokens=given.tokens, ignore_eos=True)
            together_alone.append(len(prompts) * given.tokens / (time.perf_counter() - begun))
            together.append(server.decode(prompts, given.tokens))
    with serving(threads) as server:  # the embedded model, so that little of the memory is the model's
        server.decode([[1]], 2)
        memory = server.memory() - EMBEDDED_MODEL.stat().st_size
        time.sleep(6.0)  # until the timers of the last connection are over
        idle = server.idle_share(5.0)
    engine, single, batch, several = map(statistics.median, (alone, one, together_alone, together))
    print(f"engine alone:      {engine:10.1f} tokens/s, {given.streams} texts {batch:.1f}")
    print(f"one stream:        {single:10.1f} tokens/s, {single / engine:.2f} of the engine alone")
    print(
        f"{given.streams} streams:         {several:10.1f} tokens/s, {several / batch:.2f} of the engine alone, "
        f"{several / single:.2f} times one stream"
    )
    print(f"idle:              {100 * idle:10.2f} % of a processor")
    print(f"memory beside the embedded model: {memory / 1e6:.0f} MB")


class Server:
    """A `sterna serve` that runs."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process, self._port = process, port

    def decode(self, prompts: Sequence[Sequence[int]], tokens: int) -> float:
        """Tokens a second of streams that decode together, from the first token of one to the end of all."""
        with ThreadPoolExecutor(len(prompts)) as executor:
            starts, ends = zip(*executor.map(lambda prompt: self._stream(prompt, tokens), prompts), strict=True)
        return len(prompts) * (tokens - 1) / (max(ends) - min(starts))

    def _stream(self, prompt: Sequence[int], tokens: int) -> tuple[float, float]:
        """When the first token and the end of a stream came, in seconds of `time.perf_counter`."""
        body = {"prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "stream": True, "temperature": 0}
        content = json.dumps(body).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self._port)) as connection:
            connection.sendall(head.encode() + content)
            data, first = b"", 0.0
            while not data.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"):
                part = connection.recv(1 << 20)
                if not part:
                    raise SystemExit(f"The server broke off: {data[-500:]!r}")
                data += part
                if not first and b'"text":' in data:
                    first = time.perf_counter()
            return first, time.perf_counter()

    def memory(self) -> int:
        """Bytes that the process has in memory."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def idle_share(self, seconds: float) -> float:
        """Share of a processor that the process takes while nobody asks."""
        before = self._processor_time()
        time.sleep(seconds)
        return (self._processor_time() - before) / seconds

    def _processor_time(self) -> float:
        """Seconds that all threads have run, from `schedstat`: `/proc/PID/stat` counts in hundredths."""
        threads = Path(f"/proc/{self._process.pid}/task").iterdir()
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


@contextmanager
def serving(arguments: Sequence[str]) -> Iterator[Server]:
    """Runs `sterna serve` on a free port, and waits until its model is loaded. Raises SystemExit where it does not
    start."""
    command = [sys.executable, "-m", "sterna", "serve", *arguments, "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        told = ""
        for line in process.stderr:
            if line.startswith("Serving at"):
                break
            told += line
        else:
            raise SystemExit(f"The server did not start: {told}")
        port = int(line.rpartition(":")[2])
        threading.Thread(target=lambda: list(process.stderr or ()), daemon=True).start()
        yield Server(process, port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


if __name__ == "__main__":
    main()
