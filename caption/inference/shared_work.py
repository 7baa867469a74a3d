"""The batches of caption.generate, shared by the processes that torchrun has started.

In: a job, the partial results, the rank. Out: all batches in the partial results. A process takes
a piece, some batches in a row, then the next one, so that a slow process holds up nobody; the piece
of one that died is taken by another. One process, whichever is first, joins the results.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from caption.inference.partial_results import PartialResults
from prepro.runtime.distributed import DistributedContext
from prepro.runtime.pieces import remove_claims, take_pieces
from prepro.runtime.progress_bar import ProgressBar

if TYPE_CHECKING:
    from caption.inference.image_source import ImageSource, LoadedBatch

BATCHES = 8  # of a piece, at most
SHARES = 8  # pieces for each process, at least, as far as there are batches


class Job(Protocol):
    """What is shared: batches 0 to `batches` - 1, and the rows of results of each."""

    source: "ImageSource"

    @property
    def batches(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    def rows(self, loaded: "LoadedBatch") -> list[dict]: ...


def caption_share(job: Job, parts: PartialResults, context: DistributedContext) -> None:
    """Caption pieces until all batches are done. Errors of take_pieces, of the source, OSError."""
    pieces, count, size = _pieces(job.batches, context.world), len(job.source.ids), job.batch_size

    def left(number: int) -> list[int]:
        return sorted(set(pieces[number]) - parts.finished())

    def is_done(number: int) -> bool:
        return not left(number) or parts.is_joined()

    def done_pictures() -> int:
        return sum(min(size, count - number * size) for number in parts.finished())

    taken: Iterator[int] = iter(range(len(pieces)))
    if context.world > 1:
        first = context.rank * len(pieces) // context.world
        taken = take_pieces(_paths(pieces, parts), is_done, first)
    shown = done_pictures()
    with ProgressBar(count, "captions", shown, context.rank == 0) as progress:
        for number in taken:
            for loaded in job.source.batches(size, left(number)):
                parts.write(loaded.number, job.rows(loaded))
                bad, before, shown = len(loaded.bad), shown, done_pictures()
                progress.add(shown - before - bad, bad)


@contextmanager
def joining(parts: PartialResults, context: DistributedContext, batches: int) -> Iterator[bool]:
    """Whether this process joins the results; afterwards the partial ones are removed."""
    if context.world == 1:
        yield True
        parts.remove()
        return
    for _ in take_pieces([parts.out], lambda _: parts.is_joined()):
        yield True
        parts.remove()
        remove_claims([*_paths(_pieces(batches, context.world), parts), parts.out])
        return
    yield False


def _pieces(batches: int, world: int) -> list[range]:
    """Pieces of equal length, which is the same in every process."""
    step = max(1, min(BATCHES, batches // (SHARES * world))) if world > 1 else max(1, batches)
    return [range(batches)[start : start + step] for start in range(0, batches, step)]


def _paths(pieces: Sequence[range], parts: PartialResults) -> list[Path]:
    """The names by which pieces are held."""
    return [parts.out.with_name(f"{parts.out.name}.{p.start}-{p.stop}") for p in pieces]
