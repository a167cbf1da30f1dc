"""Bags of words that processes of different hash seeds make."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mrsearch.retrieval.indexes import bow

pytestmark = pytest.mark.integration

PASSAGES = [("Ann Lee", "born in Oslo"), ("Oslo", "a city"), ("Bo", "born in Rome, in May")]


def test_bytes_do_not_depend_on_the_hash_seed(tmp_path):
    code = f"import sys; from mrsearch.retrieval.indexes.bow import fit;fit({PASSAGES!r}).save(sys.argv[1])"
    for seed in ("1", "2"):
        folder = tmp_path / seed
        command = [sys.executable, "-c", code, str(folder)]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": seed})
    assert (tmp_path / "1" / bow.FILE).read_bytes() == (tmp_path / "2" / bow.FILE).read_bytes()
