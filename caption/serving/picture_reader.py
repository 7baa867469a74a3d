"""Decode pictures from strangers in a process of their own, which is ended if one takes too long.

In: the bytes of a picture, and an encoder's transform. Out: the pixels, as the transform returns
them, or BadImage.

A file of a kilobyte can take seconds to decode, and a decoder cannot be stopped from outside. Here
the operating system ends the process after CPU_SECONDS of computing, and the next picture starts
another one. A decoder that crashes costs one picture as well. Only bytes come back, no pickles, and
few of them: a picture of 49 megapixels would block the pipe for longer than it is decoded.
"""

import json
import signal
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import numpy as np

from prepro.images import BadImage, open_rgb
from prepro.runtime.workers import forkserver
from prepro.transform import Transform

CPU_SECONDS = 1.0  # a photograph of 48 megapixels takes 0.4
WALL_SECONDS = 10.0  # on a machine that does other work as well


class PictureReader:
    """Used by one thread; `close` may come from any."""

    def __init__(self) -> None:
        self._context = forkserver(["prepro.images", "prepro.transform"])
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    def read(self, data: bytes, transform: Transform) -> tuple[np.ndarray, tuple[int, int]]:
        """Pixels (3, H, W) uint8, and width and height before the transform.

        Raises BadImage, also for a slow picture.
        """
        if self._process is None or not self._process.is_alive():
            self._start()
        try:
            self._connection.send_bytes(json.dumps(transform.to_dict()).encode())
            self._connection.send_bytes(data)
            if not self._connection.poll(WALL_SECONDS):
                raise EOFError
            size, shape, reason = json.loads(self._connection.recv_bytes())
            if reason is None:
                pixels = np.frombuffer(bytearray(self._connection.recv_bytes()), np.uint8)
                return pixels.reshape(shape), tuple(size)
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
        process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        process.start()
        self._process = process  # not before: `close` ends processes that run
        theirs.close()


def _serve(connection: Connection) -> None:
    """Answer until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            about, data = connection.recv_bytes(), connection.recv_bytes()
        except EOFError:
            return
        transform = Transform.from_dict(json.loads(about))
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)  # SIGPROF ends the process
        try:
            picture, reason = open_rgb(data, transform.resize), ""
        except BadImage as error:
            picture, reason = None, str(error)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if picture is None:
            answer = [json.dumps([None, None, reason]).encode()]
        else:
            pixels = transform.pixels(picture)
            answer = [json.dumps([picture.size, pixels.shape, None]).encode(), pixels.tobytes()]
        for part in answer:
            connection.send_bytes(part)
