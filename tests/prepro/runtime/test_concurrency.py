"""Two batches at once: the same results in the same order, and the cores given back."""

import threading
import time

import pytest
import torch

from prepro.runtime.concurrency import LANES, run_concurrently

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 2, 4])
def cores(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_order_whichever_is_ready_first(cores):
    def slow_when_even(item):
        time.sleep(0.02 * (item % 2 == 0))
        return item**2, torch.get_num_threads()

    with run_concurrently(slow_when_even, range(20), CPU) as computed:
        found = list(computed)
    shared = cores if cores < LANES else cores // LANES
    assert found == [(item, (item**2, shared)) for item in range(20)]
    assert torch.get_num_threads() == cores


def test_no_more_is_taken_than_can_be_worked_on(cores):
    taken = []

    def items():
        for item in range(9):
            taken.append(item)
            yield item

    with run_concurrently(abs, items(), CPU) as computed:
        for number, _ in enumerate(computed):
            assert len(taken) <= number + 2 + LANES


def test_an_error_comes_out_and_the_cores_are_given_back(cores):
    with (
        pytest.raises(ZeroDivisionError),
        run_concurrently(lambda x: 1 / x, [1, 2, 0, 3], CPU) as computed,
    ):
        list(computed)
    assert torch.get_num_threads() == cores


def test_leaving_early_waits_for_what_is_computed(cores):
    ended = []

    def work(item):
        time.sleep(0.05)
        ended.append(item)

    with run_concurrently(work, range(50), CPU) as computed:
        next(computed)
    assert len(ended) <= 1 + LANES + 1
    assert torch.get_num_threads() == cores


def test_elsewhere_all_is_done_in_this_thread():
    with run_concurrently(
        lambda _: threading.current_thread(), range(3), torch.device("meta")
    ) as computed:
        assert {thread for _, thread in computed} == {threading.current_thread()}


def test_a_network_gives_the_same_maps_in_lanes():
    from prepro import encoders
    from prepro.extraction.extractor import Extractor

    extractor = Extractor(encoders.create_encoder("resnet8"), CPU, 2)
    batches = [torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8) for _ in range(5)]
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with run_concurrently(extractor, batches, CPU) as computed:
            found = list(computed)
        for pixels, (fc, att) in found:
            for mine, alone in zip((fc, att), extractor(pixels), strict=True):
                assert torch.allclose(mine, alone, atol=1e-2)
    finally:
        torch.set_num_threads(before)
