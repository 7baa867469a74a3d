"""The demo's inference queue: one thread captions one picture at a time.

In: the bytes of a picture and decoding options. Out: plain JSON values, or BadImage, QueueFull or
TimeoutError.
"""

import asyncio
import math
import time
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from caption.captioner import Captioner
from caption.decoding.decode import Caption, DecodeOptions
from caption.reporting.attention_overlay import encoder_view
from caption.serving.picture_reader import PictureReader


class QueueFull(RuntimeError):
    """The queue has its maximal length."""


class QueueClosed(RuntimeError):
    """The server is being stopped."""


class InferenceQueue:
    """Captions pictures in a thread of its own, for one event loop."""

    def __init__(self, captioner: Captioner, capacity: int = 60, timeout: float = 30) -> None:
        """At most `capacity` pictures wait or are captioned, each for at most `timeout` seconds."""
        self.captioner, self.capacity, self.timeout = captioner, capacity, timeout
        self.waiting = 0
        self.closed, self._answers = False, set[asyncio.Future]()
        self._thread, self._reader = ThreadPoolExecutor(1, "captions"), PictureReader()

    async def caption(
        self, data: bytes, options: DecodeOptions, seed: int = 0, attention: bool = True
    ) -> dict:
        """Raises QueueFull at once, TimeoutError when it takes too long, BadImage for no picture,
        QueueClosed after `close`.

        A picture whose sender has left is removed from the queue. One that is being captioned
        stays until it is done, since a thread cannot be stopped.
        """
        if self.closed:
            raise QueueClosed
        if self.waiting >= self.capacity:
            raise QueueFull(f"{self.waiting} pictures are already waiting")
        self.waiting += 1
        loop = asyncio.get_running_loop()
        work = self._thread.submit(self._work, data, options, seed, attention)
        work.add_done_callback(lambda done: _call_soon(loop, self._release, done))
        answer = asyncio.wrap_future(work)
        self._answers.add(answer)
        try:
            return await asyncio.wait_for(answer, self.timeout)
        except asyncio.CancelledError:
            if self.closed:
                raise QueueClosed from None
            raise
        finally:
            self._answers.discard(answer)

    def warm_up(self, data: bytes) -> None:
        """Caption a picture for nobody; a visitor would wait seconds longer for the first one."""
        self._thread.submit(self._work, data, self.captioner.decoding, 0, True)

    def close(self) -> None:
        """Give up all pictures at once; call it in the thread of the event loop.

        A picture that is being captioned keeps its thread, but nobody waits for it.
        """
        self.closed = True
        for answer in self._answers:
            answer.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._reader.close()

    def _release(self, _: Future) -> None:
        self.waiting -= 1

    def _work(self, data: bytes, options: DecodeOptions, seed: int, attention: bool) -> dict:
        started = time.perf_counter()
        encoder = self.captioner.encoder
        pixels, size = self._reader.read(data, encoder.transform)
        (captions,) = self.captioner.captions_of_pixels(
            [torch.from_numpy(pixels)], options, seed=seed, need_attention=attention
        )
        return {
            "captions": [_as_json(caption) for caption in captions],
            "view": encoder_view(encoder.name, encoder.transform, *size)._asdict(),
            "seconds": round(time.perf_counter() - started, 4),
        }


def _call_soon(loop: asyncio.AbstractEventLoop, call, argument) -> None:
    """Call in the thread of the event loop, unless the loop has ended."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(call, argument)


def _as_json(caption: Caption) -> dict:
    """A caption as JSON values; attention (T, R) as rows of six decimals, or None."""
    weights = None if caption.attention is None else caption.attention.double().tolist()
    return {
        "caption": caption.text,
        "log_prob": caption.log_prob,
        "words": caption.words,
        "probabilities": [math.exp(p) for p in caption.log_probs[: len(caption.words)]],
        "attention": weights and [[round(weight, 6) for weight in row] for row in weights],
    }
