"""Signals as a flag."""

import os
import signal

import pytest

from jaxreason.runtime.preemption import EXIT_CODE, Interrupt


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_noted_and_the_loop_ends_itself(number, capsys):
    with Interrupt() as interrupt:
        assert not interrupt.requested(agree=True)
        os.kill(os.getpid(), number)
        assert interrupt.requested(agree=False)
        with pytest.raises(SystemExit) as exit_:
            interrupt.stop("Step 12 is saved.")
    assert exit_.value.code == EXIT_CODE == 143
    shown = capsys.readouterr().out
    assert shown == f"Stopped by {number.name}. Step 12 is saved. The same command continues.\n"


def test_a_check_without_a_signal_does_nothing():
    with Interrupt() as interrupt:
        interrupt.check("Nothing is saved.")


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


def test_a_signal_to_a_stage_is_seen_by_the_study_around_it():
    with Interrupt() as study:
        with Interrupt():
            os.kill(os.getpid(), signal.SIGTERM)
        assert study.requested()
        with Interrupt() as next_stage:  # entered after the signal: it must not start anew
            assert next_stage.requested()


def test_a_second_signal_within_a_stage_of_a_study_acts_at_once(interruptible):
    with Interrupt(), Interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
