"""What a request may ask, who may ask it, and what the demo tells about itself."""

import asyncio
import re

import pytest

pytest.importorskip("starlette", reason="needs the extra `demo`")
pytest.importorskip("httpx", reason="starlette's test client needs httpx")

from starlette.testclient import TestClient

from caption import demo
from caption.decoding.decode import DecodeOptions
from caption.serving import examples
from caption.serving.inference_queue import InferenceQueue
from caption.serving.server import MAX_BODY, application, parse_options

RUN = DecodeOptions(beam=2, max_length=9)


@pytest.fixture(scope="module")
def picture(tiny) -> bytes:
    return sorted((tiny.data / "images").iterdir())[0].read_bytes()


def limits_of(client, name: str) -> tuple[int, int]:
    """Those that the error message names."""
    error = client.post(f"/api/caption?{name}=-1").json()["error"]
    return tuple(
        map(int, re.fullmatch(rf"{name} takes a whole number from (\d+) to (\d+)", error).groups())
    )


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("beam", 1, 10), ("n", 1, 10), ("max_length", 1, 50), ("seed", 0, 2**31 - 1), ("run", 0, 9)],
)
def test_parameters_are_taken_up_to_the_limits_that_the_message_names(client, name, least, most):
    """The picture is empty: status 422 comes after the parameters were accepted."""
    assert limits_of(client, name) == (least, most)
    statuses = [
        client.post(f"/api/caption?{name}={value}", content=b"").status_code
        for value in (least - 1, least, most, most + 1)
    ]
    assert statuses == [400, 422, 422, 400]


@pytest.mark.parametrize(
    ("text", "good"),
    [("3", True), ("000000000003", True), ("0000000000003", False), ("\u0663", False), ("", False),
     ("3a", False), ("+3", False)],
)  # fmt: skip
def test_a_whole_number_is_at_most_twelve_ascii_digits(text, good):
    if good:
        assert parse_options({"n": text}, RUN).n == 3
    else:
        with pytest.raises(ValueError, match="n takes a whole number from 1 to 10"):
            parse_options({"n": text}, RUN)


def test_several_captions_need_as_many_beams_unless_they_are_sampled():
    for asked, beam, n in (
        ({}, 2, 1), ({"beam": "1"}, 1, 1), ({"n": "2"}, 2, 2), ({"n": "4"}, 4, 4),
        ({"n": "4", "beam": "5"}, 5, 4), ({"n": "4", "beam": "3"}, 4, 4),
        ({"n": "4", "sample": "top-k=3"}, 2, 4),
    ):  # fmt: skip
        found = parse_options(asked, RUN)
        assert (found.beam, found.n, found.max_length) == (beam, n, 9), asked


def test_words_are_read_in_lower_case():
    found = parse_options({"must": " Star  RED ", "never": "Blue"}, RUN)
    assert (found.must, found.never) == (("star", "red"), ("blue",))
    with pytest.raises(ValueError, match=f"unknown parameter '{'x' * 40}'; known are beam, n"):
        parse_options({"x" * 41: "1"}, RUN)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 422),
        ({"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1"}, 422),
        ({"sec-fetch-site": "none"}, 422),
        ({"origin": "https://127.0.0.1"}, 422),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1"}, 403),
        ({"sec-fetch-site": "same-origin", "origin": "http://localhost"}, 403),
    ],
)
def test_only_our_own_pages_and_programs_may_ask(client, headers, status):
    assert client.post("/api/caption", content=b"", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("listening", "name", "status"),
    [
        ("127.0.0.1", "localhost", 200), ("127.0.0.1", "demo.example", 400),
        ("demo.example", "demo.example", 200), ("demo.example", "localhost", 200),
        ("www.demo.example", "demo.example", 400),  # no redirection to www.
        ("0.0.0.0", "any.example", 200), ("::", "any.example", 200),
    ],
)  # fmt: skip
def test_names_of_this_machine_are_answered(tiny, listening, name, status):
    app = application(tiny.captioner(), listening)
    with TestClient(app, f"http://{name}", follow_redirects=False) as client:
        assert client.get("/health").status_code == status
    assert app.state.queues[0].closed


def test_ten_megabytes_are_allowed_and_a_byte_more_is_refused(client):
    assert MAX_BODY == 10 << 20
    for size, status in ((10 << 20, 422), ((10 << 20) + 1, 413)):
        announced = client.post("/api/caption", content=bytes(size))
        in_pieces = client.post("/api/caption", content=iter([bytes(size - 9), bytes(9)]))
        assert announced.status_code == in_pieces.status_code == status
    # not read before it is refused; a length that is no number is not believed
    for length, expected in (("1" + "0" * 15, 413), ("9" * 5000, 413), ("few", 422)):
        headers = {"content-length": length}
        answer = client.post("/api/caption", content=iter([b""]), headers=headers)
        assert answer.status_code == expected


def test_several_models_are_told_apart(tiny, picture):
    names = ("topdown", "show_tell")
    members = [tiny.captioner(name) for name in names]
    with TestClient(application(members[0], others=members[1:]), "http://127.0.0.1") as client:
        about = client.get("/health").json()
        answers = [
            client.post(f"/api/caption?run={run}", content=picture).json() for run in (0, 1, 7)
        ]
        assert client.get("/favicon.ico").status_code == 204
        shown = [client.get(example["src"]) for example in about["examples"]]
    assert [model["decoder"] for model in about["models"]] == list(names)
    assert about["model"] == about["models"][0]
    assert about["model"]["decoding"] == {"beam": 2, "n": 1, "max_length": 8}
    assert about["model"]["vocabulary"] == len(members[0].vocabulary)
    assert answers[0]["captions"] != answers[1]["captions"]
    assert answers[1]["captions"] == answers[2]["captions"]  # the last one
    # two models are shown photographs, though both know drawings only
    assert {answer.headers["content-type"] for answer in shown} == {"image/jpeg"}


def test_a_model_of_drawings_is_shown_drawings(tiny):
    captioner = tiny.captioner()
    with TestClient(application(captioner), "http://127.0.0.1") as client:
        about = client.get("/health").json()
        data = [client.get(example["src"]).content for example in about["examples"]]
    assert about["model"]["scenes"]
    assert [example["name"] for example in about["examples"]] == [
        "a square and a circle", "a triangle", "two circles",
    ]  # fmt: skip
    assert data == [example.data for example in examples.pictures(True)]


def test_one_example_picture_warms_every_model_up(tiny, monkeypatch):
    only = examples.pictures(True)[0]
    monkeypatch.setattr(examples, "pictures", lambda drawn: [only])
    done = []
    monkeypatch.setattr(InferenceQueue, "_work", lambda queue, *of: done.append((queue, *of)))
    captioner = tiny.captioner()
    app = application(captioner, others=[captioner])
    with TestClient(app, "http://127.0.0.1") as client:
        for queue in app.state.queues:
            queue._thread.submit(int).result(60)
        assert len(client.get("/health").json()["examples"]) == 1
    wanted = (only.data, captioner.decoding, 0, True)  # as a visitor's picture, with attention
    assert done == [(queue, *wanted) for queue in app.state.queues]


def test_a_queue_captions_with_attention_and_forgets_who_was_answered(tiny, picture):
    async def story():
        queue = InferenceQueue(tiny.captioner())
        found = await queue.caption(picture, DecodeOptions(beam=1))
        without = await queue.caption(picture, DecodeOptions(beam=1), attention=False)
        seeded = [
            (await queue.caption(picture, DecodeOptions(sample="temperature=2"), *seed))["captions"]
            for seed in ((), (0,), (1,))
        ]
        assert not queue._answers
        process = queue._reader._process
        queue.close()
        assert not process.is_alive()
        return found, without, seeded

    found, without, seeded = asyncio.run(story())
    (caption,) = found["captions"]
    assert all(f'"{name}"' in demo.__doc__ for name in (*found, *caption))
    assert len(caption["attention"]) == len(caption["words"]) > 0
    assert all(weight == round(weight, 6) for row in caption["attention"] for weight in row)
    assert 0 < found["seconds"] < 600
    assert without["captions"] == [caption | {"attention": None}]
    assert seeded[0] == seeded[1] != seeded[2]
