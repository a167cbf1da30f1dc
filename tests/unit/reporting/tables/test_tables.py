"""Tables and figures: complete, deterministic, escaped, and readable when a study is unusual."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mrsearch.config import Run, Study, load_study
from mrsearch.evaluation.metrics import write_metrics
from mrsearch.evaluation.significance import holm
from mrsearch.reporting.figures import style
from mrsearch.reporting.figures.episodes import em_by_episode
from mrsearch.reporting.figures.improvement import relative_improvement
from mrsearch.reporting.figures.pareto import frontier
from mrsearch.reporting.figures.retrieval import retrieval_quality
from mrsearch.reporting.figures.training import read_logs, training_curves
from mrsearch.reporting.frame import Metrics, learned
from mrsearch.reporting.tables.episodes import episode_table
from mrsearch.reporting.tables.latex import to_latex
from mrsearch.reporting.tables.methods import score_table
from mrsearch.reporting.tables.paired import paired_table
from mrsearch.reporting.tables.table import Mark, mark_best, number
from mrsearch.reporting.tables.writer import main_table_text, write_tables

pytestmark = pytest.mark.slow


@pytest.fixture
def metrics(measured: Path) -> Path:
    return measured / "metrics.parquet"


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_are_complete_and_repeatable(small_study: Study, metrics: Path, tmp_path: Path):
    write_tables(small_study, metrics, tmp_path / "a")
    write_tables(small_study, metrics, tmp_path / "b")
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    rows = read_csv(tmp_path / "a" / "main.csv")
    assert [(row["decoding"], row["method"]) for row in rows[:4]] == [("greedy", name) for name in small_study.methods]
    assert len(rows) == 8
    direct, baseline, _, ours = (row for row in rows if row["decoding"] == "greedy")
    value = Metrics(small_study, metrics).at("tiny", "greedy", "mr_search", "two", "em", "last_valid").value
    assert float(ours["two"]) == pytest.approx(value, abs=1e-5)
    assert float(ours["average"]) == pytest.approx((float(ours["one"]) + float(ours["two"])) / 2, abs=1e-5)
    gain = float(direct["average"]) / float(baseline["average"]) - 1
    assert float(direct["relative_improvement"]) == pytest.approx(gain, abs=1e-4)
    assert baseline["relative_improvement"] == ""
    episodes = read_csv(tmp_path / "a" / "episodes.csv")
    assert len(episodes) == 2 * 4 * (3 + 3)
    third = next(row for row in episodes if row["episode"] == "3")
    assert float(third["em"]) == pytest.approx(float(third["corrected"]) + float(third["kept"]), abs=1e-5)


def test_every_shown_number_is_the_files(small_study: Study, metrics: Path):
    rows = Metrics(small_study, metrics)
    block = score_table(rows, "em", "main").blocks[1]
    shown = block.rows[3][1].text
    assert float(shown) == pytest.approx(
        100 * rows.at("tiny", "sampled", "mr_search", "one", "em", "last_valid").value, abs=0.05
    )
    assert [cell.text for cell in block.closing[0]][:5] == ["n", "12", "12", "12", "24"]


def test_notes_say_what_was_measured(small_study: Study, metrics: Path):
    notes = " ".join(score_table(Metrics(small_study, metrics), "em", "main").notes)
    for fact in ("last valid answer", "unweighted mean", "but extra", "other trainings", "Search-R1", "seeds 0, 1"):
        assert fact in notes


def test_marks_are_corrected_over_all_tests_of_a_table(small_study: Study, metrics: Path, tmp_path: Path):
    """Two decodings, three methods against the baseline, three benchmarks and the mean."""
    write_tables(small_study, metrics, tmp_path)
    columns = [*small_study.benchmarks, "average"]
    wide = [row for row in read_csv(tmp_path / "main.csv") if row["method"] != "search_r1"]
    p_values = [float(row[f"{column}_p"]) for row in wide for column in columns]
    corrected = [float(row[f"{column}_p_holm"]) for row in wide for column in columns]
    assert len(p_values) == 2 * 3 * 4
    assert corrected == pytest.approx(holm(p_values), rel=1e-4)
    tidy = [row for row in read_csv(tmp_path / "main.tidy.csv") if row["p"]]
    assert [float(row["p_holm"]) for row in tidy] == corrected
    assert [row["mark"] for row in tidy] == ["†" if value < 0.05 else "" for value in corrected]
    baseline = [row for row in read_csv(tmp_path / "main.csv") if row["method"] == "search_r1"]
    assert {row["one_p"] for row in baseline} == {""}


def test_tidy_rows_are_the_wide_table(small_study: Study, metrics: Path, tmp_path: Path):
    write_tables(small_study, metrics, tmp_path)
    for name, metric in (("main", "em"), ("f1", "f1")):
        wide, tidy = read_csv(tmp_path / f"{name}.csv"), read_csv(tmp_path / f"{name}.tidy.csv")
        assert len(tidy) == len(wide) * 4
        rows = {(row["decoding"], row["method"]): row for row in wide}
        for row in tidy:
            same = rows[row["decoding"], row["method"]]
            assert row["metric"] == metric
            ends = [row["value"], row["value_low"], row["value_high"]]
            assert ends == [same[row["benchmark"] + end] for end in ("", "_low", "_high")]
            baseline = rows[row["decoding"], "search_r1"]
            if row["difference"]:
                gap = float(same[row["benchmark"]]) - float(baseline[row["benchmark"]])
                assert float(row["difference"]) == pytest.approx(gap, abs=1e-5)


def test_paired_comparisons_are_shown_with_their_tests(small_study: Study, metrics: Path, tmp_path: Path):
    rows = Metrics(small_study, metrics)
    table = paired_table(rows)
    (shown,) = table.blocks[0].rows
    assert shown[0].text == "MR-Search against One long episode"
    difference = rows.at("tiny", "greedy", "mr_search", "average", "em_difference", "final", "search_r1_long")
    assert shown[4].text == f"{100 * difference.value:+.1f}"
    assert shown[5].text == f"[{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"
    write_tables(small_study, metrics, tmp_path)
    written = read_csv(tmp_path / "paired.csv")
    assert len(written) == 2 * 4
    p_values, corrected = ([float(row[name]) for row in written] for name in ("p", "p_holm"))
    assert corrected == pytest.approx(holm(p_values), rel=1e-4)
    assert any("differs from the other" in note and "8 tests" in note for note in table.notes)


def test_one_seed_marks_weights_and_says_so(small_study: Study, make_records: Callable[..., Path], tmp_path: Path):
    """Trained methods get no †; what was not trained is tested over questions."""
    raw = small_study.model_dump() | {"seeds": [0]}
    raw["methods"]["rag"] = {"label": "RAG", "procedure": "rag", "compare_with": "direct"}
    raw["methods"]["mr_search"]["compare_with"] = "direct"
    study = Study.model_validate(raw)
    write_metrics(study, make_records(study, tmp_path / "eval", 60), tmp_path / "s.parquet", tmp_path / "m.parquet")
    rows = Metrics(study, tmp_path / "m.parquet")
    table = score_table(rows, "em", "main")
    assert "one seed: the spread between trainings was not measured" in table.caption
    signs = {cell.suffix for block in table.blocks for row in block.rows for cell in row}
    assert signs == {"", "°"}
    assert "\\textsuperscript{$\\circ$}" in to_latex(table)
    assert any(note.startswith("°") and "these weights only" in note for note in table.notes)
    paired = paired_table(rows)
    by_row = {row[0].text: {cell.suffix for cell in row} for block in paired.blocks for row in block.rows}
    assert "°" not in by_row["RAG against Direct"]
    assert "°" in by_row["MR-Search against Direct"]
    assert "†" in by_row["RAG against Direct"]
    assert any(note.startswith("†") and "sign flips over questions" in note for note in paired.notes)


def test_labels_are_escaped(small_study: Study, metrics: Path, tmp_path: Path):
    write_tables(small_study, metrics, tmp_path)
    assert "One \\& only" in (tmp_path / "main.tex").read_text()
    assert "One & only" in (tmp_path / "main.md").read_text()


def test_terminal_table(small_study: Study, metrics: Path):
    """Every number of the table in lines of 80 characters; one part a decoding where the terminal is wide."""
    table = score_table(Metrics(small_study, metrics), "em", "main")
    for width, parts in ((80, 2), (30, 2), (200, 1)):
        lines = re.sub(r"\x1b\[[\d;]*m", "", main_table_text(small_study, metrics, width)).splitlines()
        assert max(map(len, lines)) <= max(80, width)
        assert sum(line.startswith(" Method") or line.startswith("Method") for line in lines) == parts * 2
        numbers = " ".join(lines).split()
        for cell in (cell for block in table.blocks for row in block.rows for cell in row[1:]):
            assert all(word in numbers for word in (cell.text + cell.suffix).split())


def test_latex_has_an_environment_for_each_decoding(small_study: Study, metrics: Path):
    text = to_latex(score_table(Metrics(small_study, metrics), "em", "main"))
    assert [text.count(f"\\label{{tab:main-{number}}}") for number in (1, 2, 3)] == [1, 1, 0]
    assert text.count("\\toprule") == 2
    assert text.count("minipage") == 2, "the notes follow the last"
    assert [f": EM, {decoding}}}" in text for decoding in ("greedy", "sampled", "other")] == [True, True, False]
    assert "& \\shortstack[r]{vs Search-R1 \\\\ (95\\% interval)} &" in text


def test_marks():
    assert mark_best(["10.0", "20.0", "20.0", "5.0", "–"]) == [Mark.second, Mark.best, Mark.best, Mark.none, Mark.none]
    assert mark_best(["10.0", "10.0"]) == [Mark.none, Mark.none]


def test_numbers():
    assert number(0.4567, 100) == "45.7"
    assert number(-0.0001, 100, sign=True) == "+0.0"
    assert number(float("nan")) == "–"
    assert number(float("inf"), 100) == "∞"


def test_a_missing_row_is_an_error(small_study: Study, metrics: Path, tmp_path: Path):
    larger = small_study.model_copy(
        update={"benchmarks": {**small_study.benchmarks, "new": small_study.benchmarks["two"]}}
    )
    with pytest.raises(ValueError, match=r"no row for .*'new'"):
        write_tables(larger, metrics, tmp_path / "tables")


def test_frontier_by_hand():
    points = [(1.0, 10.0), (2.0, 9.0), (3.0, 30.0), (3.0, 20.0), (4.0, 30.0)]
    assert frontier(points) == [(1.0, 10.0), (3.0, 30.0)]


def test_a_missing_training_log_is_an_error(small_study: Study, tmp_path: Path):
    with pytest.raises(ValueError, match=r"search_r1/seed0/train.jsonl is missing: train search_r1 again"):
        training_curves(small_study, tmp_path / "models", tmp_path / "figures")


def test_a_broken_training_log_is_an_error(
    small_study: Study, make_train_logs: Callable[[Study, Path], Path], tmp_path: Path
):
    models = make_train_logs(small_study, tmp_path / "models")
    path = models / "tiny" / "mr_search" / "seed0" / "train.jsonl"
    path.write_text(path.read_text() + '{"step": 31}\n')
    with pytest.raises(ValueError, match=r"train.jsonl, line 31: not a step of a training log"):
        training_curves(small_study, models, tmp_path / "figures")


def test_parallel_samples_have_a_vote_and_a_best(small_study: Study, make_records: Callable[..., Path], tmp_path: Path):
    raw = small_study.model_dump() | {"seeds": [0]}
    samples = {"episodes": 3, "context": "independent", "temperature": 1.0}
    raw["methods"]["samples"] = {"label": "Samples", "policy": "search_r1", **samples}
    study = Study.model_validate(raw)
    write_metrics(study, make_records(study, tmp_path / "eval", 8), tmp_path / "s.parquet", tmp_path / "m.parquet")
    rows = Metrics(study, tmp_path / "m.parquet")
    with style.styled():
        em_by_episode(rows, tmp_path)
    drawn = [row for row in read_csv(tmp_path / "episodes.csv") if row["method"] == "samples"]
    assert [row["metric"] for row in drawn[:6]] == ["em_vote"] * 3 + ["em_best"] * 3
    vote, best = ([float(row["em"]) for row in drawn[start : start + 3]] for start in (0, 3))
    assert vote[0] <= best[0] < best[1] < best[2]
    assert all(one <= other for one, other in zip(vote, best, strict=True))
    table = episode_table(rows)
    shown = next(row for row in table.blocks[0].rows if row[0].text == "Samples")
    assert [cell.text for cell in shown[1:]] == [f"{100 * vote[0]:.1f}", *_with_gaps(vote[1:])]
    assert any("vote of the first samples" in note for note in table.notes)


def _with_gaps(votes: list[float]) -> list[str]:
    return [text for vote in votes for text in (f"{100 * vote:.1f}", "", "", "")]


QUALITY = """retriever,measure,benchmark,questions,at_1,at_3,at_20,milliseconds
dense,answer-hit,one,5,0.9,0.95,0.97,1.2
dense,answer-hit,all,9,0.52,0.61,0.74,1.2
graph,answer-hit,all,9,0.50,0.6,0.73,0.31
graph,recall,all,9,0.94,0.9,0.93,0.31
"""


def test_retrieval_is_drawn_from_its_report(small_study: Study, tmp_path: Path):
    raw = small_study.model_dump()
    raw["retrieval"]["retrievers"]["graph"] = {"kind": "dense", "encoder": {"kind": "bow"}, "index": "hnsw"}
    study = Study.model_validate(raw)
    (tmp_path / "quality.csv").write_text(QUALITY)
    retrieval_quality(study, tmp_path / "quality.csv", tmp_path / "figures")
    assert {path.suffix for path in (tmp_path / "figures").iterdir()} == {".pdf", ".svg", ".png", ".csv"}
    rows = {(row["retriever"], row["measure"]): row for row in read_csv(tmp_path / "figures" / "retrieval.csv")}
    assert float(rows["graph", "recall"]["share"]) == 0.9, "topk is 3"
    assert (rows["dense", "recall"]["share"], rows["dense", "recall"]["measured"]) == ("1", "False")
    assert float(rows["dense", "answer-hit"]["milliseconds"]) == 1.2
    (tmp_path / "quality.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="not a report on retrieval"):
        retrieval_quality(study, tmp_path / "quality.csv", tmp_path / "figures")


def test_entropy_is_missing_where_nothing_was_trained(
    small_study: Study, make_train_logs: Callable[[Study, Path], Path], tmp_path: Path
):
    models = make_train_logs(small_study, tmp_path / "models")
    path = models / "tiny" / "mr_search" / "seed0" / "train.jsonl"
    first, *others = path.read_text().splitlines()
    idle = json.loads(first) | {"entropy": 0.0, "zero_variance_groups": 1.0}
    path.write_text("\n".join([json.dumps(idle), *others]) + "\n")
    read = read_logs(small_study, ["mr_search"], models)
    assert read[read.seed == 0].entropy.isna().tolist() == [True] + [False] * (len(others))
    assert list(read.columns[5:8]) == ["reward_1", "reward_2", "reward_3"]


def test_improvement_is_about_all_that_is_trained_beyond_a_warm_start(root: Path):
    assert "warm_start" not in learned(load_study(Run(), root))
    paired = load_study(Run(study="baselines"), root)
    assert learned(paired) == list(paired.methods)


def test_a_baseline_that_alone_is_trained_has_an_empty_figure(small_study: Study, metrics: Path, tmp_path: Path):
    (baseline, *_) = learned(small_study)
    others = [name for name in small_study.methods if small_study.policy_of(name) in ("base", "warm_start")]
    methods = {name: small_study.methods[name] for name in (baseline, *others)}
    assert len(methods) < len(small_study.methods)
    report = small_study.report.model_copy(update={"baseline": baseline})
    alone = small_study.model_copy(update={"methods": methods, "report": report})
    assert learned(alone) == [baseline]
    relative_improvement(Metrics(alone, metrics), tmp_path)
    assert read_csv(tmp_path / "improvement.csv") == []
