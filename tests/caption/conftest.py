"""Fixtures of the tests of caption and of its pages."""

import pytest

from tests.caption import tiny_runs as maker


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> maker.Tiny:
    return maker.make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def client(tiny: maker.Tiny):
    """Requests to the demo without a socket."""
    pytest.importorskip("starlette", reason="needs the extra `demo`")
    pytest.importorskip("httpx", reason="starlette's test client needs httpx")
    from starlette.testclient import TestClient

    from caption.serving.server import application

    with TestClient(application(tiny.captioner()), "http://127.0.0.1") as client:
        yield client
