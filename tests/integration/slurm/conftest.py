"""The cluster that the tests of this folder share, and the check that nothing is left on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.debian import Unavailable
from support.project import ROOT

from .cluster import TestCluster
from .project import Project, copied

collect_ignore = [] if os.environ.get("MRSEARCH_BAD_DAYS") == "all" else ["test_rehearsal_job.py"]
"""A rehearsal as a job takes minutes: it belongs to the long matrix."""


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


@pytest.fixture(scope="session")
def project(slurm: TestCluster, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project in a folder with a space in its name. The files of tests that use it follow each other: the first
    begins with nothing, and what it made need not be made again."""
    return Project(copied(ROOT, tmp_path_factory.mktemp("the project")), slurm)


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
