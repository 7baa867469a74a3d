"""The one place where the demo's model works: one picture at a time, a bounded queue before it.

In: the bytes of a picture and how to decode. Out: plain JSON values, or BadImage, Full or
TimeoutError.
"""

import asyncio
import math
import time
from concurrent.futures import Future, ThreadPoolExecutor

from caption.captioner import Captioner
from caption.decoding.decode import Caption, DecodeOptions
from caption.reporting.attention_overlay import seen
from prepro.images import open_rgb


class Full(RuntimeError):
    """As many pictures wait as may."""


class InferenceQueue:
    """Captions pictures in one thread of its own. For one event loop."""

    def __init__(self, captioner: Captioner, places: int = 16, patience: float = 30) -> None:
        """`places` pictures wait or are worked on at most, `patience` seconds each."""
        self.captioner, self.pos_embed, self.patience = captioner, places, patience
        self.waiting = 0
        self._thread = ThreadPoolExecutor(1, "captions")

    async def caption(
        self, data: bytes, options: DecodeOptions, seed: int = 0, attention: bool = True
    ) -> dict:
        """Raises Full at once, TimeoutError when it takes too long, BadImage for what is none.

        A picture whose sender has given up leaves the queue; one that is being worked on keeps its
        place until it is done, for a thread cannot be stopped.
        """
        if self.waiting >= self.pos_embed:
            raise Full(f"{self.waiting} pictures are waiting already")
        self.waiting += 1
        loop = asyncio.get_running_loop()
        work = self._thread.submit(self._work, data, options, seed, attention)
        work.add_done_callback(lambda done: _soon(loop, self._leave, done))
        return await asyncio.wait_for(asyncio.wrap_future(work), self.patience)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _leave(self, _: Future) -> None:
        self.waiting -= 1

    def _work(self, data: bytes, options: DecodeOptions, seed: int, attention: bool) -> dict:
        started = time.perf_counter()
        encoder = self.captioner.encoder
        picture = open_rgb(data, encoder.transform.resize)
        (captions,) = self.captioner.captions(
            [picture], options, seed=seed, need_attention=attention
        )
        return {
            "captions": [_plain(caption, self.captioner) for caption in captions],
            "view": seen(encoder.name, encoder.transform, *picture.size)._asdict(),
            "seconds": round(time.perf_counter() - started, 4),
        }


def _soon(loop: asyncio.AbstractEventLoop, call, argument) -> None:
    """Call in the loop's thread, unless the loop has ended meanwhile."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(call, argument)


def _plain(caption: Caption, captioner: Captioner) -> dict:
    """A caption as JSON values; attention (T, R) as rows of six decimals, or None."""
    words = captioner.vocabulary.decode(caption.token_ids)
    looked = None if caption.attention is None else caption.attention.double().tolist()
    return {
        "caption": captioner.vocabulary.sentence(caption.token_ids),
        "log_prob": caption.log_prob,
        "words": words,
        "probabilities": [math.exp(p) for p in caption.log_probs[: len(words)]],
        "attention": looked and [[round(weight, 6) for weight in row] for row in looked],
    }
