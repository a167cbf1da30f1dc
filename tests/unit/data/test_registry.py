"""The registry of downloads: complete, pinned, and never another split."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from mrsearch.config import load_study
from mrsearch.config.run import Run
from mrsearch.data.registry import RegistryEntry, questions_row, registry, row, rows_of

SEVEN = {
    "nq": ("test", 3610),
    "triviaqa": ("test", 11313),
    "popqa": ("test", 14267),
    "hotpotqa": ("dev", 7405),
    "2wikimultihopqa": ("dev", 12576),
    "musique": ("dev", 2417),
    "bamboogle": ("test", 125),
}
UNPINNED = {"asearcher", "asearcher_train"}
"""Rows whose commit no source states."""
FILE = {"path": "a/test.jsonl", "bytes": 3, "sha256": "0" * 64}
QUESTIONS = {"kind": "questions", "repository": "o/r", "files": [FILE], "split": "test", "rows": 2, "source": "here"}


def paper(root, **overrides):
    return load_study(Run(study="paper", overrides=overrides), root)


def test_the_benchmarks_have_the_split_and_rows_of_the_papers():
    for name, (split, rows) in SEVEN.items():
        found = row(name, "questions")
        assert (found.split, found.rows) == (split, rows)
        assert found.files[0].path == f"{name}/{split}.jsonl"
        assert found.files[0].bytes and found.files[0].sha256


def test_every_row_is_pinned_but_those_named_here():
    for name, entry in registry().items():
        assert (entry.revision is None) == (name in UNPINNED), name
        assert entry.source
        sizes = {(file.bytes is None, file.sha256 is None) for file in entry.files or ()}
        assert sizes <= ({(True, True)} if name in UNPINNED else {(False, False)}), name


def test_every_download_of_the_shipped_studies_resolves(root):
    found = {entry.name for entry in rows_of(paper(root))}
    assert found == {
        *SEVEN,
        "asearcher",
        "nq_hotpotqa",
        "wiki-18",
        "wiki-18-e5",
        "e5-base-v2",
        "qwen2.5-3b",
        "qwen2.5-7b",
    }
    for name in ("demo", "real-smoke"):
        assert rows_of(load_study(Run(study=name), root)) == []


def test_training_never_reads_a_test_split_and_testing_never_a_training_split(root):
    with pytest.raises(ValueError, match=r"data.train \(nq\) is a test split"):
        questions_row(paper(root, **{"data.train": "nq"}), "train")
    with pytest.raises(ValueError, match=r"benchmarks.nq \(nq_hotpotqa\) is a train split"):
        questions_row(paper(root, **{"benchmarks.nq.source": "nq_hotpotqa"}), "nq")
    with pytest.raises(ValueError, match="'wiki' is no corpus of the registry: known are wiki-18"):
        rows_of(paper(root, **{"data.corpus": "wiki"}))


def test_rows_of_equal_files_share_a_folder_that_carries_the_revision():
    assert row("asearcher").folder == row("asearcher_train").folder
    folders = {entry.folder for entry in registry().values()}
    assert len(folders) == len(registry()) - 1
    assert "@69c1c00ffe7c" in row("wiki-18").folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"revision": "main"}, "not a full commit"),
        ({"files": [{**FILE, "sha256": "abc"}]}, "not a sha256"),
        ({"files": [{**FILE, "path": "../x"}]}, "not a path inside a repository"),
        ({"rows": None}, "none may be left to chance"),
        ({"held_out": {"fraction": 0.1, "seed": 1, "of": 100}}, "leaves 10 rows to test"),
        ({"colour": 1}, "Extra inputs"),
    ],
)
def test_a_row_that_is_not_exact_is_refused(change, message):
    RegistryEntry.model_validate({"name": "x", **QUESTIONS})
    with pytest.raises(ValueError, match=message):
        RegistryEntry.model_validate({"name": "x", **QUESTIONS, **change})


def test_the_registry_names_the_offending_row(tmp_path):
    path = tmp_path / "registry.yaml"
    path.write_text("a: {kind: corpus, repository: o/r, source: s, rows: 0}\n")
    with pytest.raises(ValueError, match=r"registry.yaml: a.rows: .*greater than 0"):
        registry(path)
    path.write_text("a: {same_files_as: b, kind: corpus, source: s}\n")
    with pytest.raises(ValueError, match=r"a.same_files_as"):
        registry(path)


def test_the_held_out_tenth_of_asearcher_is_the_released_one(real_data):
    """Every released test question stands where the drawn permutation puts it, for the row's size and no other."""
    rows = map(orjson.loads, (real_data / "questions" / "asearcher.dev.jsonl").read_bytes().splitlines())
    positions = {int(entry["id"].removeprefix("test_")): entry["metadata"]["raw_id"] for entry in rows}
    held_out = row("asearcher").held_out

    def agreeing(size):
        drawn = np.random.default_rng(held_out.seed).permutation(size)
        return sum(int(drawn[place]) == raw for place, raw in positions.items())

    assert agreeing(held_out.of) == len(positions) == 233
    assert all(agreeing(held_out.of + step) < len(positions) for step in (-3, -2, -1, 1, 2, 3))
