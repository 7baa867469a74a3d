"""Thousands of requests to the demo, fifty at once, hostile ones among them.

    python -m tests.faults.soak --run runs/default --requests 2000

Out: how many good requests were answered, how long they took, and how much memory the server used
after a tenth of the requests and at the end. Exit status 1 if a good request failed, if the memory
grew by more than 5 %, or if the server does not stop within two seconds of Ctrl-C.
"""

import http.client
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from eval import command
from tests.faults.attacks.values import damage

HOSTILE = 0.2  # share of the requests
GROWTH = 0.05
PATH = "/api/caption?n=2&beam=2"


@dataclass(frozen=True)
class Options:
    """Send thousands of requests to the demo, fifty at once, hostile ones among them.

    Example: python -m tests.faults.soak --run runs/default
    """

    run: str
    """the model, as for caption.demo"""
    requests: int = 2000
    """how many"""
    at_once: int = 50
    """clients"""
    seed: int = 0
    """random seed"""


class Soak:
    def __init__(self, options: Options, process: subprocess.Popen, port: int) -> None:
        self.options, self.process, self.port = options, process, port
        self.seconds: list[float] = []
        self.failed: list[str] = []
        self.memory: list[int] = []
        self.answer: list | None = None
        self.lock = threading.Lock()
        self.good = _encoded(Image.effect_noise((640, 480), 60).convert("RGB"), "JPEG")
        self.slow = _encoded(Image.new("RGB", (7000, 7000), "red"), "JPEG2000")

    def request(self, number: int) -> None:
        rng = random.Random(f"{self.options.seed} {number}")
        if rng.random() < HOSTILE:
            self._hostile(rng)
        else:
            self._good()
        if number in (self.options.requests // 10, self.options.requests - 1):
            self.memory.append(_memory(self.process.pid))

    def _good(self) -> None:
        """Ask until there is room, as the answer 429 says; all answers must be equal."""
        started = time.perf_counter()
        while (found := self._post(PATH, self.good))[0] == 429:
            time.sleep(0.2)
        captions = json.loads(found[1]).get("captions") if found[0] == 200 else None
        with self.lock:
            self.seconds.append(time.perf_counter() - started)
            self.answer = self.answer or captions
            if captions is None or captions != self.answer:
                self.failed.append(f"status {found[0]}: {found[1][:100]!r}")

    def _hostile(self, rng: random.Random) -> None:
        kind = rng.randrange(5)
        if kind == 0:  # half of a body, and then nobody
            with socket.create_connection(("127.0.0.1", self.port)) as client:
                client.sendall(b"POST /api/caption HTTP/1.1\r\nHost: localhost\r\n")
                client.sendall(b"Content-Length: 100000\r\n\r\nhalf")
            return
        bodies = [self.slow, b"", rng.randbytes(5000), damage(rng, self.good)]
        path = PATH if kind < 4 else "/api/caption?beam=999999999999&sample=top-p%3D1e-320"
        status, text = self._post(path, self.slow if rng.random() < 0.05 else bodies[kind % 4])
        if status >= 500:
            self.failed.append(f"hostile, status {status}: {text[:100]!r}")

    def _post(self, path: str, body: bytes) -> tuple[int, bytes]:
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            client.request("POST", path, body)
            answer = client.getresponse()
            return answer.status, answer.read()
        except OSError as error:
            return 599, str(error).encode()
        finally:
            client.close()


def _encoded(picture: Image.Image, kind: str) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind)
    return data.getvalue()


def _memory(pid: int) -> int:
    """Bytes that the process holds, from Linux's /proc."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(options: Options) -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    line = [sys.executable, "-m", "caption.demo", "--run", options.run, "--port", str(port)]
    process = subprocess.Popen([*line, "--device", "cpu"], stderr=subprocess.PIPE, text=True)
    while "http://" not in process.stderr.readline():
        assert process.poll() is None, "the demo did not start"
    threading.Thread(target=process.stderr.read, daemon=True).start()
    soak, started = Soak(options, process, port), time.perf_counter()
    try:
        with ThreadPoolExecutor(options.at_once) as clients:
            list(clients.map(soak.request, range(options.requests)))
        wall = time.perf_counter() - started
        threading.Thread(target=soak._post, args=(PATH, soak.slow), daemon=True).start()
        time.sleep(0.2)
        stopping = time.perf_counter()
        process.send_signal(signal.SIGINT)
        process.wait(60)
        stopped = time.perf_counter() - stopping
    finally:
        process.kill()
    return report(soak, wall, stopped)


def report(soak: Soak, wall: float, stopped: float) -> int:
    first, last = soak.memory[0], soak.memory[-1]
    p50, p99 = np.percentile(soak.seconds, [50, 99])
    good = len(soak.seconds)
    print(f"{soak.options.requests:,} requests in {wall:.0f} s, {soak.options.at_once} at once")
    print(f"good requests {good:,}, answered {good - len(soak.failed):,}")
    print(f"seconds until the answer: median {p50:.2f}, p99 {p99:.2f}")
    print(f"memory {first / 1e6:.0f} MB, then {last / 1e6:.0f} MB; stopped in {stopped:.1f} s")
    for line in soak.failed[:10]:
        print(line, file=sys.stderr)
    return int(bool(soak.failed) or last > first * (1 + GROWTH) or stopped > 2)


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
