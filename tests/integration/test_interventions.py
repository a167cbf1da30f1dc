"""The interventions of the study that ships with the docs, evaluated for real with untrained weights: where passages
change, over a procedure that searches whatever the weights say."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from support.finished_study import evaluate_study, train_study
from support.project import ROOT

from mrsearch.agent.record_files import read_records
from mrsearch.agent.records import MetaEpisode
from mrsearch.config import Run, Study, load_study
from mrsearch.config.layout import Layout, record_file
from mrsearch.config.run import Paths
from mrsearch.reporting.tables.writer import write_tables

pytestmark = pytest.mark.integration
SMALL = {
    "data.train_entities": 30,
    "data.test_entities": 30,
    "data.train_questions": 8,
    "data.questions_per_benchmark": 3,
    "models.tiny": {"kind": "tiny", "hidden_size": 32, "layers": 1, "heads": 2, "kv_heads": 2, "intermediate_size": 64},
    "protocol.max_turns": 1,
    "protocol.max_turn_tokens": 8,
    "benchmarks": {"single_hop": {}, "two_hop": {}},
}


def untrained(study: Study) -> Study:
    """The study's methods with the base model's weights; those whose passages change are twins of `rag`."""
    raw = study.model_dump(mode="json")
    methods = {name: row | {"policy": "base", "train": None} for name, row in raw["methods"].items()}
    del methods["warm_start"]
    methods["rag"] = {"procedure": "rag"}
    for method in methods.values():
        if method.get("intervention", {}).get("kind", "").endswith("passages"):
            method |= {"procedure": "rag", "episodes": 1, "compare_with": "rag"}
    raw["evaluation"]["decoding"] = {"greedy": raw["evaluation"]["decoding"]["greedy"]}
    return Study.model_validate(raw | {"methods": methods})


def test_every_twin_is_evaluated_and_compared_with_its_fellow(tmp_path: Path) -> None:
    paths = Paths(results=str(tmp_path / "results"), resources=str(tmp_path / "resources"))
    run = Run(study="docs/guides/interventions.yaml", paths=paths, overrides=SMALL)
    study = untrained(load_study(run, ROOT))
    layout = Layout(run, study)
    train_study(study, layout)
    evaluate_study(study, layout)

    def records(method: str) -> list[MetaEpisode]:
        return list(read_records(record_file(layout.records("tiny", method, 0), "two_hop", "greedy")))

    def shown(method: str) -> list[list[str]]:
        """Passages that stood in the prompt, by question."""
        return [[hit.passage.id for hit in record.episodes[0].turns[0].hits] for record in records(method)]

    assert [len(hits) for hits in shown("rag")] == [1] * 3
    assert shown("mr_search_blanked") == shown("mr_search_delayed") == [[]] * 3
    swapped = shown("mr_search_swapped")
    assert all(hits in shown("rag") for hits in swapped), "the question itself is what rag searches with"
    assert all(one != another for one, another in zip(swapped, shown("rag"), strict=True))
    assert [record.blanked_episode for record in records("mr_search_forgetful")] == [0] * 3
    write_tables(study, layout.metrics, layout.tables)
    rows = [row for row in csv.DictReader((layout.tables / "paired.csv").open()) if row["benchmark"] == "average"]
    twins = {name: method.compare_with for name, method in study.methods.items() if method.intervention is not None}
    assert {row["method"]: row["compared_with"] for row in rows} == twins
    assert all(float(row["difference_low"]) <= float(row["difference"]) for row in rows)
    assert "Adaptivity" in (layout.tables / "main.md").read_text()
