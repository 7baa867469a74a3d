"""Decode pictures from strangers in a process of their own, which is ended if one takes too long.

In: the bytes of a picture. Out: an upright RGB picture, or BadImage.

A file of a kilobyte can take seconds to decode, and a decoder cannot be stopped from outside. Here
the operating system ends the process after CPU_SECONDS of computing, and the next picture starts
another one. A decoder that crashes costs one picture as well. Only bytes come back, no pickles.
"""

import json
import signal
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from PIL import Image

from prepro.images import BadImage, open_rgb
from prepro.runtime.workers import forkserver

CPU_SECONDS = 1.0  # a photograph of 48 megapixels takes 0.4
WALL_SECONDS = 10.0  # on a machine that does other work as well


class PictureReader:
    """Used by one thread; `close` may come from any."""

    def __init__(self) -> None:
        self._context = forkserver(["prepro.images"])
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    def open(self, data: bytes, target: int = 0) -> Image.Image:
        """What prepro.images.open_rgb returns. Raises BadImage, also for a slow picture."""
        if self._process is None or not self._process.is_alive():
            self._start()
        try:
            self._connection.send_bytes(str(target).encode())
            self._connection.send_bytes(data)
            if not self._connection.poll(WALL_SECONDS):
                raise EOFError
            size, reason = json.loads(self._connection.recv_bytes())
            if reason is None:
                return Image.frombytes("RGB", size, self._connection.recv_bytes())
        except (EOFError, OSError):
            self.close()
            raise BadImage("takes too long to decode") from None
        raise BadImage(reason)

    def close(self) -> None:
        """End the process at once, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def _start(self) -> None:
        self._connection, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()


def _serve(connection: Connection) -> None:
    """Answer until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            target, data = int(connection.recv_bytes()), connection.recv_bytes()
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)  # SIGPROF ends the process
        try:
            picture = open_rgb(data, target)
            answer = [json.dumps([picture.size, None]).encode(), picture.tobytes()]
        except BadImage as error:
            answer = [json.dumps([None, str(error)]).encode()]
        signal.setitimer(signal.ITIMER_PROF, 0)
        for part in answer:
            connection.send_bytes(part)
