"""The background writer: in order, complete, and its errors in the caller's thread."""

import threading

import pytest

from prepro.runtime.background import BackgroundWriter


def test_everything_is_done_in_order_when_the_context_is_left():
    done, begin = [], threading.Event()

    def work(*numbers):
        begin.wait(60)
        done.append((numbers, threading.current_thread()))

    with BackgroundWriter(work) as background:
        for number in range(4):
            background.put(number, -number)
        assert done == []
        begin.set()
    assert [numbers for numbers, _ in done] == [(i, -i) for i in range(4)]
    assert {thread for _, thread in done} == {background.thread}
    assert background.thread is not threading.current_thread() and background.thread.daemon


def test_an_error_drops_the_rest_and_is_raised_by_the_caller():
    done = []
    with pytest.raises(ZeroDivisionError), BackgroundWriter(lambda x: done.append(1 / x)) as writer:
        for number in (1, 0, 2):
            writer.queue.put((number,))
    assert done == [1]
    with pytest.raises(ZeroDivisionError):
        writer.put(4)


def test_an_error_of_the_caller_comes_first():
    with pytest.raises(KeyError), BackgroundWriter(lambda x: 1 / x) as writer:
        writer.put(0)
        raise KeyError
    assert isinstance(writer.error, ZeroDivisionError)
