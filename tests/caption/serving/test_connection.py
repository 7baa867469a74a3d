"""The demo's connections, over real sockets: half a request, pipelined requests, no request."""

import asyncio
import socket

import pytest

pytest.importorskip("uvicorn", reason="needs the extra `demo`")
pytest.importorskip("starlette", reason="needs the extra `demo`")

from uvicorn.protocols.http.h11_impl import H11Protocol

from caption.serving import connection
from caption.serving.server import application
from tests.caption.serving.running_server import served


@pytest.fixture(scope="module")
def port(tiny):
    limits = {"limit_concurrency": 8, "timeout_keep_alive": 5}
    app = application(tiny.captioner())
    with served(app, http=connection.Connection, **limits) as port:
        yield port


def opened(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def all_of(line: socket.socket) -> bytes:
    """What arrives until the other side hangs up."""
    data = b""
    while chunk := line.recv(1 << 16):
        data += chunk
    return data


def hung_up(line: socket.socket) -> bool:
    try:
        return line.recv(100) == b""
    except ConnectionResetError:
        return True


def request(path: str, body: bytes = b"", last: bool = False) -> bytes:
    head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    head += f"Content-Length: {len(body)}\r\n" + "Connection: close\r\n" * last
    return head.encode() + b"\r\n" + body


def test_pipelined_requests_are_answered_in_their_order(port):
    with opened(port) as line:
        bad = request("/api/caption", b"no picture")
        line.sendall(request("/health") + bad + request("/nothing", last=True))
        answers = all_of(line)
    order = [answers.index(word) for word in (b"200 OK", b" 422 ", b"404 Not Found")]
    assert order == sorted(order)


def test_half_a_line_holds_nobody_up(port, monkeypatch):
    """As many as may connect send half a request; they are hung up on, and others are served."""
    monkeypatch.setattr(connection, "HEADERS", 1)
    lines = [opened(port) for _ in range(8)]
    for line in lines:
        line.sendall(b"GET /health HTTP/1.1\r\nHost: 127")
    for line in lines:
        assert hung_up(line)
        line.close()
    with opened(port) as line:
        line.sendall(request("/health", last=True))
        assert b'"status":"ok"' in all_of(line)


def test_an_answer_that_never_comes_is_given_up(port, monkeypatch):
    """A body that is announced and not sent."""
    monkeypatch.setattr(connection, "ANSWER", 1)
    with opened(port) as line:
        line.sendall(request("/api/caption", bytes(99))[:-1])
        assert hung_up(line)


def test_a_connection_that_is_lost_is_watched_no_longer(monkeypatch):
    monkeypatch.setattr(H11Protocol, "connection_lost", lambda *_: None)
    loop = asyncio.new_event_loop()
    line = object.__new__(connection.Connection)
    line._watching = loop.call_later(1, print)
    line.connection_lost(None)
    assert line._watching.cancelled()
    loop.close()


def test_what_is_no_request_is_refused(port):
    for noise in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"GET\r\n\r\n"):
        with opened(port) as line:
            line.sendall(noise)
            answer = all_of(line)
        assert answer.startswith(b"HTTP/1.1 400") and b"Traceback" not in answer
