"""Serve a page that captions pictures: dropped, pasted, chosen, or from the camera.

    python -m caption.demo --run runs/default
    curl --data-binary @image.jpg "http://127.0.0.1:8000/api/caption?n=3&beam=5"

    GET  /            the page
    GET  /health      {"status", "model", "models", "examples", "waiting"}
    POST /api/caption in: the bytes of a picture; out: {"captions": [{"caption", "log_prob",
                      "words", "probabilities", "attention"}], "view", "seconds"}. Parameters: beam,
                      n, max_length, sample, must, never, seed, run (of several, from 0), and
                      attention=0, which omits the attention.

Errors are {"error": a sentence}: 400 bad parameter, 408 slow upload, 413 too large, 422 not a
picture, 429 queue full, 503 timeout. Nothing is stored.
"""

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from eval import command


@dataclass(frozen=True)
class Options:
    """Serve a page that captions pictures; only this machine can open it, unless --host is given.

    Example: python -m caption.demo --run runs/default
    """

    run: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """a run's folder, a model.safetensors, or flickr8k, the model that comes with the package
    (default: runs/latest; without one, flickr8k); several are shown side by side"""
    host: str = "127.0.0.1"
    """address to listen on; 0.0.0.0 accepts other machines"""
    port: int = 8000
    """port to listen on"""
    device: str = "auto"
    """device: auto, cpu, cuda, cuda:1 or mps"""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port {self.port}: expected 0 to 65535")


def main(options: Options) -> None:
    try:
        import uvicorn

        from caption.serving.connection import Connection
        from caption.serving.server import application
        from caption.serving.stopping_server import StoppingServer
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise ValueError(f"the demo needs {error.name}: pip install -e '.[demo]'") from None
    from caption.captioner import Captioner
    from prepro.runtime.device import choose_device

    device = choose_device(options.device)
    captioners = [Captioner.load(run, device) for run in options.run or [None]]
    for captioner in captioners:
        print(f"model: {captioner.description}", file=sys.stderr)
        _ = captioner.encoder  # built, or downloaded, before the first request
    app = application(captioners[0], options.host, others=captioners[1:])
    config = uvicorn.Config(
        app, options.host, options.port, log_level="warning", server_header=False,
        limit_concurrency=64, timeout_keep_alive=5, timeout_graceful_shutdown=1,
        http=Connection, ws="none",
    )  # fmt: skip
    try:
        listener = socket.create_server((options.host, options.port))
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"--host {options.host} --port {options.port}: {reason}") from None
    print(f"http://{options.host}:{options.port}/  (Ctrl-C stops it)", file=sys.stderr)
    server = StoppingServer(config)
    server.run(sockets=[listener])
    if server.should_exit:  # where asyncio has swallowed the signal
        raise KeyboardInterrupt


if __name__ == "__main__":
    status = command.run(Options, main)
    sys.stdout.flush()
    os._exit(status)  # without waiting for a caption that nobody awaits any more
