"""A page on this machine that captions pictures: dropped, pasted, chosen, or from the camera.

    python -m caption.demo --run runs/default
    curl --data-binary @image.jpg "http://127.0.0.1:8000/api/caption?n=3&beam=5"

    GET  /            the page
    GET  /health      {"status", "model", "waiting"}
    POST /api/caption the bytes of one picture in; out: {"captions": [{"caption", "log_prob",
                      "words", "probabilities", "attention"}], "box", "seconds"}. Parameters: beam,
                      n, max_length, sample, seed, and attention=0 to leave that out.

Errors are {"error": a sentence}: 400 a parameter, 408 a slow sender, 413 too large, 422 no picture,
429 too many waiting, 503 too slow. Nothing is stored.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from eval import command


@dataclass(frozen=True)
class Options:
    """Serve a page that captions pictures, for this machine alone unless --host says otherwise.

    Example: python -m caption.demo --run runs/default
    """

    run: Path = Path("runs/latest")
    """a run's folder, or a model.safetensors"""
    host: str = "127.0.0.1"
    """the address to listen on; 0.0.0.0 lets other machines in"""
    port: int = 8000
    """the port to listen on"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port {self.port}: not within 0 and 65535")


def main(options: Options) -> None:
    try:
        import uvicorn

        from caption.serving.connection import Connection
        from caption.serving.server import application
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise ValueError(f"needs {error.name}: pip install -e '.[demo]'") from None
    from caption.captioner import Captioner
    from prepro.runtime.device import choose_device

    model = options.run if options.run.is_file() else options.run / "model.safetensors"
    captioner = Captioner.load(model, choose_device(options.device))
    app = application(captioner, options.host)
    config = uvicorn.Config(
        app, options.host, options.port, log_level="warning", server_header=False,
        limit_concurrency=64, timeout_keep_alive=5, timeout_graceful_shutdown=3,
        http=Connection, ws="none",
    )  # fmt: skip
    print(f"http://{options.host}:{options.port}/  (Ctrl-C stops it)", file=sys.stderr, flush=True)
    uvicorn.Server(config).run()


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
