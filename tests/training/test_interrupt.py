"""Signals as a flag."""

import os
import signal

import pytest

from jaxreason.training.interrupt import EXIT_CODE, Interrupt


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_noted_and_the_loop_ends_itself(number, capsys):
    with Interrupt() as interrupt:
        assert not interrupt.requested(agree=True)
        os.kill(os.getpid(), number)
        assert interrupt.requested(agree=False)
        with pytest.raises(SystemExit) as exit_:
            interrupt.stop(12)
    assert exit_.value.code == EXIT_CODE == 143
    shown = capsys.readouterr().out
    assert f"Stopped by {number.name} at step 12, saved." in shown


@pytest.fixture
def interruptible():
    """SIGINT raises, as in the foreground: a shell starts background jobs with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_signal_acts_at_once(interruptible):
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.requested(agree=True)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_handlers_that_were_there_come_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Interrupt():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
