"""The whole DAG over real questions and real passages, searched over HTTP; nothing is left running."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrsearch.agent.records import read_records
from mrsearch.config import Run, load_study
from mrsearch.config.layout import Layout

from .conftest import Project

pytestmark = pytest.mark.e2e
FEW = "overrides={data.passages: 300, data.questions_per_benchmark: 2}"


def test_real_questions_run_through_the_whole_pipeline(project: Project, real_data: Path) -> None:
    project.snakemake(config=["study=real-smoke", FEW])
    run = Run.model_validate({"study": "real-smoke", "paths": {"results": str(project.folder / "results")}})
    study = load_study(run, project.folder)
    layout = Layout(run, study)
    for method in study.methods:
        for path in layout.record_files("tiny", method, 0)[:-1]:
            assert len(list(read_records(path))) == 2
    rag = [record for path in layout.record_files("tiny", "rag", 0)[:-1] for record in read_records(path)]
    assert all(record.search_failures == 0 for record in rag)
    assert len(list((layout.root / "tables").iterdir())) >= 4
    assert not layout.token("minilm").exists()
    assert (project.folder / "results/real-smoke/index/minilm/index.json").is_file()
    done = project.snakemake(config=["study=real-smoke", FEW])
    assert "Nothing to be done" in done.stdout + done.stderr
