"""A rehearsal asks the environment of the jobs what it sees."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mrsearch.config import Run, load_study
from mrsearch.rehearsal.links import LinkFailed, Rehearsal
from mrsearch.rehearsal.study import rehearsed

pytestmark = pytest.mark.integration


def test_an_environment_with_too_few_gpus_does_not_hold(root, tmp_path):
    study = load_study(Run(study="paper"), root)
    run = Run.model_validate({"paths": {"results": str(tmp_path), "resources": str(tmp_path / "resources")}})
    made = Rehearsal(run, rehearsed(study), Path(sys.executable))
    with pytest.raises(LinkFailed, match=r"status|resources\.train\.gpus is 8 and .* sees 0 GPUs"):
        made.environment()
