"""What the page of caption.export --web needs: its runtime, and a web server of files."""

import functools
import http.server
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from caption.onnx.web import CDN, PARTS

PACKAGE = re.search("onnxruntime-web@[0-9.]+", CDN)[0]


def unpack_runtime(folder: Path) -> Path:
    """The unpacked package of the version that the page's CDN link names, from npm.

    OSError or subprocess.SubprocessError without npm or a network.
    """
    pack = ["npm", "pack", "--silent", "--prefer-offline", PACKAGE]
    packed = subprocess.run(
        pack, cwd=folder, check=True, capture_output=True, text=True, timeout=300
    )
    names = [f"package/dist/{name}" for name in PARTS.values()]
    subprocess.run(["tar", "xzf", packed.stdout.split()[-1], *names], cwd=folder, check=True)
    return folder / "package"


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address under which the files of `folder` are."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
