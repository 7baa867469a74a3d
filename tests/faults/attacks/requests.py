"""Requests to the demo: parameters, headers, bodies. Every good one is answered between them."""

import io
import random
from pathlib import Path

from PIL import Image

from tests.caption import tiny_runs
from tests.faults.attacks.outcome import Outcome, run
from tests.faults.attacks.values import NUMBERS, TEXTS, damage

NAMES = ("beam", "n", "max_length", "sample", "seed", "attention", "must", "", "\0")
SAMPLES = (
    "top-p=1e-320", "temperature=1e-40", "top-k=99999999999", "gumbel", "top-p=nan", "top-p=0.001",
    "temperature=100", "top-k=-1",
)  # fmt: skip
HEADERS = (
    {}, {"origin": "http://evil.example"}, {"origin": "http://[::1"}, {"origin": "http://]x["},
    {"origin": "null"}, {"host": "[::1"}, {"content-length": "-5"}, {"range": "bytes=9-1,-5"},
)  # fmt: skip


def prepare(folder: Path) -> dict:
    from starlette.testclient import TestClient

    from caption.serving.server import application

    tiny = tiny_runs.make(folder / "tiny", ("topdown",))
    client = TestClient(application(tiny.captioner("topdown"), "testserver"))
    client.__enter__()
    buffer = io.BytesIO()
    Image.effect_noise((60, 40), 50).convert("RGB").save(buffer, "JPEG")
    answer = client.post("/api/caption", content=buffer.getvalue()).json()["captions"]
    return {"client": client, "picture": buffer.getvalue(), "answer": answer}


def attack(rng: random.Random, folder: Path, made: dict) -> tuple[str, Outcome]:
    query = {
        rng.choice(NAMES): rng.choice(
            (*map(str, NUMBERS), *TEXTS[:2], *TEXTS[3:6], *SAMPLES, "007")
        )
        for _ in range(rng.randrange(3))
    }
    body = made["picture"]
    if rng.random() < 0.5:
        body = rng.choice((b"", b"<html>", rng.randbytes(2000), damage(rng, body)))
    path = rng.choice(("/api/caption", "/api/caption", "/health", "/..%2f..%2fetc/passwd", "/x"))
    headers = rng.choice(HEADERS)
    method = rng.choice(("POST", "POST", "POST", "GET", "PUT", "DELETE"))

    def work() -> int:
        found = made["client"].request(method, path, params=query, content=body, headers=headers)
        again = made["client"].post("/api/caption", content=made["picture"])
        if found.status_code >= 500:
            raise AssertionError(f"status {found.status_code}")
        return 0 if again.json().get("captions") == made["answer"] else 97

    return f"{method} {path} {query} {headers} {body[:20]!r}", run(work)
