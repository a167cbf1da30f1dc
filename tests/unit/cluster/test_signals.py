"""Signals are taken again from libraries that took them, and remembered."""

from __future__ import annotations

import os
import signal

import pytest

from mrsearch.cluster.signals import interrupts


def test_a_signal_is_taken_again_from_a_library_that_took_it() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with interrupts(signal.SIGTERM) as signals:
        signal.signal(signal.SIGTERM, lambda *_: None)
        os.kill(os.getpid(), signal.SIGTERM)
        assert not signals.came
        signals.retake(KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        assert signals.came
    assert signal.getsignal(signal.SIGTERM) is before
