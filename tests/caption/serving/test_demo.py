"""The command that starts the demo: its port, its models and what it says."""

import socket
import sys
from types import SimpleNamespace

import pytest

pytest.importorskip("uvicorn", reason="needs the extra `demo`")
pytest.importorskip("starlette", reason="needs the extra `demo`")

from caption import captioner, demo
from caption.serving import server, stopping_server


@pytest.fixture
def started(monkeypatch):
    """What is served instead of a server: runs, the models, and uvicorn's config."""
    found = SimpleNamespace(runs=[], stop=False)

    def load(run, device):
        found.runs.append(run)
        return SimpleNamespace(description=f"model {run}", encoder=None)

    def application(first, host, others):
        found.served = [first.description, *(other.description for other in others)]
        return SimpleNamespace(state=SimpleNamespace(queues=[]))

    class Server:
        def __init__(self, config):
            found.config, self.should_exit = config, found.stop

        def run(self, sockets):
            found.address = sockets[0].getsockname()
            sockets[0].close()

    monkeypatch.setattr(captioner.Captioner, "load", load)
    monkeypatch.setattr(server, "application", application)
    monkeypatch.setattr(stopping_server, "StoppingServer", Server)
    return found


def test_ports_are_those_of_tcp():
    assert f"http://127.0.0.1:{demo.Options().port}/" in demo.__doc__
    for port in (0, 65535):
        assert demo.Options(port=port).port == port
    for port in (-1, 65536):
        with pytest.raises(ValueError, match=f"--port {port}: expected 0 to 65535"):
            demo.Options(port=port)


def test_several_runs_are_served_the_first_one_first(started, capsys):
    demo.main(demo.Options(run=("a", "b", "c"), port=0, device="cpu"))
    assert started.runs == ["a", "b", "c"] and started.served == ["model a", "model b", "model c"]
    assert started.address[0] == "127.0.0.1" and not started.config.server_header
    assert capsys.readouterr().err.splitlines() == [
        "model: model a", "model: model b", "model: model c",
        "http://127.0.0.1:0/  (Ctrl-C stops it)",
    ]  # fmt: skip


def test_without_a_run_the_latest_or_the_model_that_comes_along_is_served(started):
    demo.main(demo.Options(port=0, device="cpu"))
    assert started.runs == [None] and started.served == ["model None"]


def test_a_signal_that_asyncio_has_swallowed_is_ctrl_c(started):
    started.stop = True
    with pytest.raises(KeyboardInterrupt):
        demo.main(demo.Options(port=0, device="cpu"))


def test_a_port_in_use_is_named_with_the_reason(started, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"^--host 127.0.0.1 --port {port}: Address already in"):
            demo.main(demo.Options(port=port, device="cpu"))

    def refuse(address):
        raise OSError("no address")  # without a number, and so without strerror

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(OSError, match=r"^--host ::x --port 0: no address$"):
        demo.main(demo.Options(host="::x", port=0, device="cpu"))


@pytest.mark.parametrize(
    ("missing", "error", "message"),
    [
        ("uvicorn", ValueError, r"the demo needs uvicorn: pip install -e '\.\[demo\]'"),
        ("caption.serving.connection", ModuleNotFoundError, "connection"),
    ],
)
def test_a_missing_extra_is_named_and_other_modules_are_no_extra(
    monkeypatch, missing, error, message
):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(error, match=message):
        demo.main(demo.Options(device="cpu"))
