"""A server of one ZIP file on this machine, which behaves as badly as a test asks for."""

import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Handler(http.server.BaseHTTPRequestHandler):
    data: bytes
    cut_after: int  # bytes of one answer; 0: never
    ranges: bool
    total: int  # what the server says the size is
    requests: list[str]

    def do_GET(self) -> None:
        self.requests.append(self.headers.get("Range", ""))
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(found[1]) if found and self.ranges else 0
        body = self.data[start:]
        self.send_response(206 if found and self.ranges else 200)
        if found and self.ranges:
            self.send_header("Content-Range", f"bytes {start}-{self.total - 1}/{self.total}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.cut_after or None])

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(
    data: bytes, cut_after: int = 0, ranges: bool = True, total: int = 0
) -> Iterator[tuple[str, list[str]]]:
    """Yields the address of the file and the list of the ranges that were asked for."""
    requests: list[str] = []
    settings = {
        "data": data, "cut_after": cut_after, "ranges": ranges, "total": total or len(data),
        "requests": requests,
    }  # fmt: skip
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Settings", (Handler,), settings)
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/set.zip", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
