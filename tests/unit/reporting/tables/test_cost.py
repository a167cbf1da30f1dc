"""What a question costs: every cost, hit and stop reason that the study has."""

from __future__ import annotations

import shutil
from pathlib import Path

from support.made_up import score_again, write_made_metrics

from mrsearch.agent.record_files import read_records, write_records
from mrsearch.agent.records import StopReason
from mrsearch.config import Study
from mrsearch.reporting.frame import Metrics
from mrsearch.reporting.tables.cost import cost_rows, cost_table


def test_rare_stops_are_shown_where_they_happened(small_study: Study, made_once: Path, measured: Path, tmp_path: Path):
    folder = shutil.copytree(made_once, tmp_path / "eval")
    before = Metrics(small_study, measured / "metrics.parquet")
    assert cost_table(before).header[6:] == [
        *("Hit@3 (%)", "Answered (%)", "Turn limit (%)", "Context limit (%)", "Search failed (%)")
    ]
    path = next((folder / "tiny" / "mr_search").rglob("one.greedy.jsonl.zst"))
    records = list(read_records(path))
    records[0].stop = StopReason.deadline
    write_records(path, records)
    score_again(small_study, folder)
    write_made_metrics(small_study, folder, tmp_path)
    after = Metrics(small_study, tmp_path / "metrics.parquet")
    assert cost_table(after).header[-1] == "Out of time (%)"
    row = next(row for row in cost_rows(after) if (row["decoding"], row["method"]) == ("greedy", "mr_search"))
    assert row["stop_deadline"] == after.at("tiny", "greedy", "mr_search", "average", "stop_deadline", "all").value > 0
    assert {"hit@1", "hit@2", "hit@3", "episodes_run", "stop_agreed", "stop_confident"} <= set(row)
    assert {len(line) for block in cost_table(after).blocks for line in block.rows + block.closing} == {
        len(cost_table(after).header)
    }
