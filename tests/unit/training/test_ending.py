"""The last line of a training that a signal ended."""

from __future__ import annotations

import os
import signal

import pytest

from mrsearch.training.ending import told_of_its_end


@pytest.mark.parametrize(("step", "again"), [(3, "its checkpoint of step 3"), (None, "the beginning")])
def test_a_signal_is_told_with_where_the_training_goes_on(step, again, caplog):
    with pytest.raises(SystemExit) as ended, told_of_its_end("MR-Search (tiny, seed 0)", lambda: step):
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM
    (line,) = caplog.messages
    assert line.startswith("MR-Search (tiny, seed 0): ended by SIGTERM") and f"goes on from {again}" in line


def test_other_ends_pass_through_and_the_handler_is_given_back(caplog):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError, match="a fault"), told_of_its_end("a training", lambda: None):
        raise RuntimeError("a fault")
    with told_of_its_end("a training", lambda: None):
        pass
    assert signal.getsignal(signal.SIGTERM) is before and not caplog.messages
