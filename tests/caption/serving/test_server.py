"""The demo's server: what it answers, what it refuses and how, without a browser."""

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="needs the extra `demo`")
pytest.importorskip("httpx", reason="starlette's test client needs httpx")

from starlette.testclient import TestClient

from caption.decoding.decode import DecodeOptions
from caption.serving import server
from caption.serving.inference_queue import InferenceQueue, QueueFull
from caption.serving.server import MAX_BODY, application, parse_options
from prepro.images import BadImage, open_rgb


@pytest.fixture(scope="module")
def picture(tiny) -> bytes:
    return sorted((tiny.data / "images").iterdir())[0].read_bytes()


@pytest.mark.parametrize(
    "name", ["show_attend_tell", "att2in", "adaptive", "topdown", "transformer"]
)
def test_captions_are_the_captioners(name, tiny, picture):
    captioner = tiny.captioner(name)
    with TestClient(application(captioner), "http://127.0.0.1") as client:
        answer = client.post("/api/caption?beam=4&n=3", content=picture).json()
    (expected,) = captioner.captions(
        [open_rgb(picture)], DecodeOptions(beam=4, n=3, max_length=8, block_repeats=True),
        need_attention=True,
    )  # fmt: skip
    assert len(answer["captions"]) == 3
    for shown, caption in zip(answer["captions"], expected, strict=True):
        assert shown["words"] == captioner.vocabulary.decode(caption.token_ids)
        assert shown["caption"] == captioner.vocabulary.sentence(caption.token_ids)
        assert shown["log_prob"] == pytest.approx(caption.log_prob, rel=1e-4)
        assert len(shown["probabilities"]) == len(shown["words"])
        for row, weights in zip(shown["attention"], caption.attention.tolist(), strict=True):
            assert row == pytest.approx(weights, abs=2e-6)
    assert answer["view"]["seen"] == [pytest.approx(x) for x in (0.0625, 0.0625, 0.875, 0.875)]


def test_the_first_visitor_does_not_wait_for_the_first_caption(tiny):
    inference_queue, done = InferenceQueue(tiny.captioner()), threading.Event()
    work = inference_queue._work
    inference_queue._work = lambda *of: (work(*of), done.set())
    with TestClient(application(None, queue=inference_queue), "http://127.0.0.1"):
        assert done.wait(60)


def test_sampling_depends_on_the_seed_alone(client, picture):
    def ask(seed):
        path = f"/api/caption?sample=temperature%3D2&n=3&seed={seed}&attention=0"
        return client.post(path, content=picture).json()["captions"]

    assert ask(1) == ask(1) != ask(2)
    assert ask(1)[0]["attention"] is None


@pytest.mark.parametrize(
    "query, word",
    [
        ("beam=11", "beam"), ("beam=0", "beam"), ("n=x", "n takes"), ("n=1e9", "n takes"),
        ("max_length=51", "max_length"), ("sample=temperature%3D-1", "temperature"),
        ("sample=%3Cscript%3E", "sample"), ("run=/etc", "run takes"), ("seed=-1", "seed"),
        ("must=dog", "must"), ("word=dog", "unknown parameter"), ("beam=%C2%B2", "beam"),
        ("n=" + "9" * 5000, "n takes"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_named(client, picture, query, word):
    answer = client.post(f"/api/caption?{query}", content=picture)
    assert answer.status_code == 400
    assert word in answer.json()["error"]


def test_sixty_at_once_get_captions_or_are_asked_to_wait(client, picture):
    with ThreadPoolExecutor(60) as threads:
        ask = partial(client.post, "/api/caption?beam=1&attention=0", content=picture)
        found = [job.result() for job in [threads.submit(ask) for _ in range(60)]]
    distinct = {answer.json()["captions"][0]["caption"] for answer in found if answer.is_success}
    assert len(distinct) == 1
    assert {answer.status_code for answer in found} <= {200, 429}
    assert client.get("/health").json()["waiting"] == 0


@pytest.mark.parametrize("data", [b"", b"<html>", b"GIF89a", b"\xff\xd8\xff\xe0" + bytes(99)])
def test_what_is_no_picture_is_said_in_words(client, data):
    answer = client.post("/api/caption", content=data)
    assert answer.status_code == 422
    assert answer.json()["error"] and "/" not in answer.json()["error"]


def test_too_large_is_refused_whether_announced_or_not(client):
    whole = client.post("/api/caption", content=bytes(MAX_BODY + 1))
    pieces = client.post("/api/caption", content=(bytes(1 << 20) for _ in range(11)))
    for answer in (whole, pieces):
        assert answer.status_code == 413 and "10 MB" in answer.json()["error"]
    assert client.post("/api/caption", content=bytes(MAX_BODY)).status_code == 422


def test_other_sites_and_names_are_refused(client, picture):
    foreign = {"sec-fetch-site": "cross-site"}
    assert client.post("/api/caption", content=picture, headers=foreign).status_code == 403
    for origin in ("http://evil.example", "http://[::1", "http://]x[", "null", ""):
        answer = client.post("/api/caption", content=picture, headers={"origin": origin})
        assert answer.status_code == 403
    assert client.get("/health", headers={"host": "rebound.example"}).status_code == 400
    assert client.get("/health", headers={"host": "localhost:8000"}).status_code == 200


def test_every_answer_carries_the_policy(client, picture):
    for path in ("/", "/demo.js", "/page.css", "/attention.js", "/health", "/nothing"):
        policy = client.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
    assert client.get("/../server.py").status_code == 404
    assert client.get("/%2e%2e/server.py").status_code == 404
    assert client.get("/api/caption").status_code == 405


def test_health(client):
    answer = client.get("/health").json()
    assert answer["status"] == "ok" and answer["waiting"] == 0
    assert answer["model"]["decoder"] == "topdown" and answer["model"]["regions"] == 7


def test_an_accident_shows_a_number_and_no_trace(tiny, picture, monkeypatch, capsys):
    def fail(*_, **__):
        raise RuntimeError("the secret /home/me/model")

    app = application(tiny.captioner())
    monkeypatch.setattr(app.state.queues[0], "_work", fail)
    with TestClient(app, "http://127.0.0.1", raise_server_exceptions=False) as client:
        answer = client.post("/api/caption", content=picture)
    assert answer.status_code == 500
    assert "secret" not in answer.text and "Traceback" not in answer.text
    number = answer.json()["error"].split("failure ")[1].rstrip(")")
    assert number in capsys.readouterr().err


def queue_that_waits(tiny, **more) -> tuple[InferenceQueue, threading.Event]:
    inference_queue, go = InferenceQueue(tiny.captioner(), **more), threading.Event()
    inference_queue._work = lambda *_: go.wait(10) and {"done": True}
    return inference_queue, go


def test_the_queue_is_bounded_and_empties(tiny):
    async def story():
        inference_queue, go = queue_that_waits(tiny, capacity=3)
        options = DecodeOptions()
        three = [asyncio.create_task(inference_queue.caption(b"", options)) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert inference_queue.waiting == 3
        with pytest.raises(QueueFull, match="3 pictures"):
            await inference_queue.caption(b"", options)
        go.set()
        assert await asyncio.gather(*three) == [{"done": True}] * 3
        await asyncio.sleep(0.05)
        assert inference_queue.waiting == 0
        inference_queue.close()

    asyncio.run(story())


def test_who_gives_up_leaves_the_queue_but_running_work_keeps_its_place(tiny):
    async def story():
        inference_queue, go = queue_that_waits(tiny, capacity=3, timeout=0.1)
        options = DecodeOptions()
        two = [inference_queue.caption(b"", options) for _ in range(2)]
        found = await asyncio.gather(*two, return_exceptions=True)
        assert [type(error) for error in found] == [TimeoutError] * 2
        await asyncio.sleep(0.05)
        assert inference_queue.waiting == 1
        go.set()
        for _ in range(100):
            await asyncio.sleep(0.02)
            if not inference_queue.waiting:
                break
        assert inference_queue.waiting == 0
        inference_queue.close()

    asyncio.run(story())


def test_a_full_queue_and_a_slow_model_have_their_own_answers(tiny, picture):
    inference_queue, go = queue_that_waits(tiny, capacity=1, timeout=1)
    with TestClient(application(None, queue=inference_queue), "http://127.0.0.1") as client:
        answers: list = []
        slow = threading.Thread(
            target=lambda: answers.append(client.post("/api/caption", content=picture))
        )
        slow.start()
        for _ in range(200):
            if inference_queue.waiting:
                break
            time.sleep(0.01)
        full = client.post("/api/caption", content=picture)
        slow.join()
        go.set()
    assert full.status_code == 429 and full.headers["retry-after"] == "1"
    assert answers[0].status_code == 503 and "within 1 s" in answers[0].json()["error"]


def test_a_sender_that_dawdles_is_sent_away(tiny, monkeypatch):
    monkeypatch.setattr(server, "SEND_TIMEOUT", 0.1)
    sent: list[dict] = []

    async def receive():
        await asyncio.sleep(5)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/api/caption", "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")], "scheme": "http", "server": ("127.0.0.1", 80),
    }  # fmt: skip
    asyncio.run(application(tiny.captioner())(scope, receive, send))
    assert sent[0]["status"] == 408
    assert "did not arrive" in json.loads(sent[1]["body"])["error"]


def test_bad_pictures_do_not_stop_the_model_thread(tiny, picture):
    async def story():
        inference_queue = InferenceQueue(tiny.captioner())
        with pytest.raises(BadImage):
            await inference_queue.caption(b"no picture", DecodeOptions())
        assert (await inference_queue.caption(picture, DecodeOptions(beam=1)))["captions"]
        inference_queue.close()

    asyncio.run(story())


def test_defaults_of_the_run_hold_unless_asked_otherwise():
    run = DecodeOptions(beam=2, max_length=9, block_repeats=True)
    assert parse_options({}, run) == run
    assert parse_options({"n": "5"}, run) == DecodeOptions(
        beam=5, n=5, max_length=9, block_repeats=True
    )


def test_pages_have_no_markup_from_text():
    """innerHTML and its kin would make markup of captions and file names."""
    scripts = list(Path(server.OWN_FILES).glob("*.js"))
    assert scripts
    for path in scripts:
        text = path.read_text("utf-8")
        for risky in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert risky not in text, (path.name, risky)
