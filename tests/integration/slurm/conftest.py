"""The cluster that the tests of this folder share, and the check that nothing is left on it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from debian import Unavailable

from .cluster import TestCluster


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """What is started in the background ignores SIGINT, and so would everything that the tests start and interrupt."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestCluster]:
    """A running Slurm, which every command of this process finds. In continuous integration it may not be missing."""
    root = tmp_path_factory.mktemp("slurm")
    cluster = TestCluster(root)
    before = dict(os.environ)
    try:
        try:
            cluster.up()
        except Unavailable as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))
        os.environ |= cluster.environment
        yield cluster
    finally:
        cluster.down()
        for name in cluster.environment:
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]


@pytest.fixture
def quiet(slurm: TestCluster) -> Iterator[TestCluster]:
    """The cluster without jobs; fails a test that leaves one behind, and removes it."""
    slurm.cancel_all()
    yield slurm
    left = slurm.jobs()
    slurm.cancel_all()
    assert not left, f"jobs left behind: {left}"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a space in its name."""
    folder = tmp_path / "a place"
    folder.mkdir()
    return folder
