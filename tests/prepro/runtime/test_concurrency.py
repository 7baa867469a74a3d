"""Two batches at a time: results in order, and the number of threads restored."""

import threading
import time

import pytest
import torch

from prepro.runtime.concurrency import run_concurrently

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 2, 4])
def cores(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_items(cores):
    def slow_when_even(item):
        time.sleep(0.02 * (item % 2 == 0))
        return item**2, torch.get_num_threads()

    with run_concurrently(slow_when_even, range(20), CPU) as computed:
        results = list(computed)
    threads = {1: 1, 2: 1, 4: 2}[cores]  # half of them for each of two items
    assert results == [(item, (item**2, threads)) for item in range(20)]
    assert torch.get_num_threads() == cores


def test_items_are_taken_only_when_they_can_be_computed(cores):
    """Of several cores two compute, and one item waits for the first that is ready."""
    taken = []

    def items():
        for item in range(9):
            taken.append(item)
            yield item

    with run_concurrently(abs, items(), CPU) as computed:
        for number, _ in enumerate(computed):
            assert len(taken) == (min(number + 3, 9) if cores > 1 else number + 1)


def test_an_error_is_raised_and_the_threads_are_restored(cores):
    with (
        pytest.raises(ZeroDivisionError),
        run_concurrently(lambda x: 1 / x, [1, 2, 0, 3], CPU) as computed,
    ):
        list(computed)
    assert torch.get_num_threads() == cores


def test_leaving_early_waits_for_running_computations(cores):
    finished = []

    def work(item):
        time.sleep(0.05)
        finished.append(item)

    with run_concurrently(work, range(50), CPU) as computed:
        next(computed)
    assert len(finished) <= 4
    assert torch.get_num_threads() == cores


def test_other_devices_compute_in_the_calling_thread():
    with run_concurrently(
        lambda _: threading.current_thread(), range(3), torch.device("meta")
    ) as computed:
        assert {thread for _, thread in computed} == {threading.current_thread()}


def test_concurrent_features_equal_sequential_features():
    from prepro import encoders
    from prepro.extraction.extractor import Extractor

    extractor = Extractor(encoders.create_encoder("resnet8"), CPU, 2)
    batches = [torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8) for _ in range(5)]
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with run_concurrently(extractor, batches, CPU) as computed:
            results = list(computed)
        for pixels, (fc, att) in results:
            for concurrent, sequential in zip((fc, att), extractor(pixels), strict=True):
                assert torch.allclose(concurrent, sequential, atol=1e-2)
    finally:
        torch.set_num_threads(before)
