"""Made-up records that a test may change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def made(made_once: Path, tmp_path: Path) -> Path:
    """A copy of the records and scores of the small study."""
    return shutil.copytree(made_once, tmp_path / "eval")
