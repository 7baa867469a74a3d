"""The demo's application behind a real socket, in a thread."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn


@contextmanager
def served(application, **options) -> Iterator[int]:
    """The port of 127.0.0.1 on which it answers; `options` are uvicorn's."""
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_level="critical", **options))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
        assert thread.is_alive()
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
