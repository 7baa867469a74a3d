"""Signals between two steps: the first is recorded, the second is the one of before."""

import signal
import sys
import threading

import pytest

from prepro.runtime.signals import StopRequest, defer_sigint, resume_command, trap_signals


@pytest.fixture
def received():
    """Notes what reaches the handlers of before, and restores those of pytest."""
    numbers: list[int] = []
    before = {
        number: signal.signal(number, lambda n, _: numbers.append(n))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_sets_the_exit_status_of_a_shell(received, number):
    assert StopRequest().status == 0
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with trap_signals() as request:
        assert request.status == 0
        signal.raise_signal(number)
        assert request.status == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
        assert received == []
        signal.raise_signal(number)
        assert received == [number]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    signal.raise_signal(signal.SIGTERM)
    assert received == [number, signal.SIGTERM]


def test_ctrl_c_is_raised_where_the_loop_asks(received):
    with pytest.raises(KeyboardInterrupt), defer_sigint() as check:
        check()
        signal.raise_signal(signal.SIGINT)
        assert received == []
        signal.raise_signal(signal.SIGINT)
        assert received == [signal.SIGINT]
        check()
    with defer_sigint():
        pass
    signal.raise_signal(signal.SIGINT)
    assert received == [signal.SIGINT] * 2


def test_other_threads_get_no_signals():
    handlers, errors = [], []

    def work():
        try:
            with defer_sigint() as check:
                check()
                handlers.append(signal.getsignal(signal.SIGINT))
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)] and not errors


def test_the_command_that_goes_on(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--out", "my run", "--resume", "--seed", "3"])
    found = resume_command("caption.train", "--resume")
    assert found == "python -m caption.train --out 'my run' --seed 3 --resume"
    monkeypatch.setattr(sys, "argv", ["train.py"])
    assert resume_command("caption.train") == "python -m caption.train"
