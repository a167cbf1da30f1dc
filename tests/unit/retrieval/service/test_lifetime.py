"""The lease is measured by a clock that cannot jump; waiting for a server ends with what is known of it."""

import os
import time

import pytest

from mrsearch.retrieval.service.endpoint import Endpoint, publish
from mrsearch.retrieval.service.files import ServiceFiles
from mrsearch.retrieval.service.lifetime import _wait


class Clocks:
    """The wall clock and the monotonic one, set apart."""

    def __init__(self, monkeypatch):
        self.wall, self.steady = 1_700_000_000.0, 50.0
        monkeypatch.setattr(time, "time", lambda: self.wall)
        monkeypatch.setattr(time, "monotonic", lambda: self.steady)


@pytest.fixture
def clocks(monkeypatch):
    return Clocks(monkeypatch)


@pytest.mark.parametrize("jump", [-1e9, -3600, -1, 1, 3600, 1e9])
def test_a_jump_of_the_wall_clock_neither_ends_nor_prolongs_a_lease(clocks, tmp_path, jump):
    files = ServiceFiles(tmp_path / "e.json")
    files.renew()
    assert files.leased(10)
    clocks.wall += jump
    clocks.steady += 9
    assert files.leased(10)
    clocks.steady += 2
    assert not files.leased(10)


@pytest.mark.parametrize("stamp", [0, 5, 1_000, 2_000_000_000, 4_000_000_000])
def test_every_renewal_counts_whatever_time_it_bears(clocks, tmp_path, stamp):
    files = ServiceFiles(tmp_path / "e.json")
    files.renew()
    assert files.leased(10)
    clocks.steady += 100
    os.utime(files.lease, (stamp, stamp))
    assert files.leased(10)
    clocks.steady += 9
    assert files.leased(10)
    clocks.steady += 1
    assert not files.leased(10)


def test_without_a_file_there_is_no_lease(clocks, tmp_path):
    files = ServiceFiles(tmp_path / "e.json")
    assert not files.leased(10)
    files.renew()
    assert files.leased(10)
    files.lease.unlink()
    assert not files.leased(10)


class Waiting:
    """A launcher whose job runs for ever."""

    def submit(self, command, name, log):
        return "17"

    def active(self, job_id):
        return True

    def queued(self, job_id):
        return False

    def describe(self, job_id):
        return "RUNNING"

    def cancel(self, job_id):
        pass


@pytest.mark.parametrize("url", ["http://nowhere.invalid:1", None])
def test_a_time_out_names_the_address_that_was_announced(tmp_path, url):
    files = ServiceFiles(tmp_path / "e.json")
    if url:
        publish(files.live, Endpoint(url, "b", "secret"))
    with pytest.raises(RuntimeError, match=url or "it announced no address") as caught:
        _wait(files, "17", 0.05, Waiting(), lambda line: None)
    assert "job 17" in str(caught.value) and "secret" not in str(caught.value)
