"""The axes of what retrievers find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mrsearch.config import Study
from mrsearch.reporting.figures import style
from mrsearch.reporting.figures.retrieval import retrieval_quality

QUALITY = """retriever,measure,benchmark,questions,at_3,milliseconds
dense,answer-hit,all,9,0.61,1.2
graph,answer-hit,all,9,0.6,0.31
graph,recall,all,9,0.99,0.31
"""


def test_no_share_is_above_100(small_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = small_study.model_dump()
    raw["retrieval"]["retrievers"]["graph"] = {"kind": "dense", "encoder": {"kind": "bow"}, "index": "hnsw"}
    (tmp_path / "quality.csv").write_text(QUALITY)
    drawn: list[Any] = []
    monkeypatch.setattr(style, "save", lambda figure, *_: drawn.append(figure))
    retrieval_quality(Study.model_validate(raw), tmp_path / "quality.csv", tmp_path)
    recall, found = drawn[0].axes
    assert max(recall.get_yticks()) == 100.0 < recall.get_ylim()[1]
    assert max(found.get_yticks()) > 61.0
