"""The one count of searches and failures, which evaluations and both trainers share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.project import ROOT
from support.trainings import training_run

from mrsearch.agent.ports import Hit, Passage
from mrsearch.agent.records import ActionKind, Episode, MetaEpisode, Question, StopReason, Turn
from mrsearch.agent.tally import MetaEpisodeCounts, Tally
from mrsearch.config import Run, load_study
from mrsearch.training.log import TrainingLog
from mrsearch.training.outlook import Budget
from mrsearch.training.rl.trainer import LocalTrainer
from mrsearch.training.summary import step_summary, zero_variance_groups

SOURCE = ROOT / "src" / "mrsearch"
QUESTION = Question("1", "q?", ("a",))


def rag_record() -> MetaEpisode:
    """rag: its prompt held what its one search had found."""
    turn = Turn(2, 4, "<answer>a</answer>", ActionKind.answer, "a", hits=[Hit(Passage("1", "t", "x"), 1.0)])
    episodes = [Episode([turn], "a", StopReason.answered)]
    return MetaEpisode(
        QUESTION, [0] * 4, [0, 0, 1, 1], [0] * 4, [0.0, 0.0, -1.0, -1.0], 2, episodes, StopReason.answered
    )


def failed_record() -> MetaEpisode:
    """The search behind the first prompt failed, so nothing was generated."""
    return MetaEpisode(QUESTION, [], [], [], [], 0, [], StopReason.search_failed, search_failures=1)


def trainer(limit: float, tmp_path: Path) -> LocalTrainer:
    changes = {"methods": {"rag": {"procedure": "rag", "train": {"algorithm": "grpo"}}}, "report.baseline": "rag"}
    study = load_study(Run(study="demo", overrides={**changes, "retrieval.client.max_failure_rate": limit}), ROOT)
    return LocalTrainer(
        training_run(study, "tiny", "rag", 0, tmp_path, tmp_path), None, TrainingLog(tmp_path, "rag", Budget(1))
    )


def test_a_rag_training_counts_its_searches_and_the_one_that_failed(tmp_path):
    records = [rag_record()] * 2559 + [failed_record()]
    with pytest.raises(
        ValueError, match=r"rag, step 7: 1 of 2560 searches failed, more than .*max_failure_rate \(0\.0\)"
    ):
        trainer(0.0, tmp_path).count(7, records)
    tolerant = trainer(0.01, tmp_path)
    counts = tolerant.count(7, records)
    assert (tolerant.tally.records, tolerant.tally.searches, tolerant.tally.search_failures) == (2560, 2560, 1)
    assert (len(counts), counts[-1].tokens, counts[-1].stop) == (2560, 0, "search_failed")


def test_nothing_but_failures_is_too_much():
    tally = Tally()
    tally.add(MetaEpisodeCounts.of(failed_record()))
    study = load_study(Run(study="demo"), ROOT)
    with pytest.raises(ValueError, match="here: 1 of 1 searches failed"):
        tally.check_searches(study, "here")
    Tally().check(study, "nothing was searched")


def test_the_log_counts_meta_episodes_without_an_episode():
    counts = [MetaEpisodeCounts.of(rag_record()), MetaEpisodeCounts.of(failed_record())]
    rewards_QGN, exists_QGN = torch.tensor([[[1.0], [0.0]]]), torch.tensor([[[True], [False]]])
    row = step_summary(counts, rewards_QGN, exists_QGN, missing=3, search_retries=2)
    assert (row["reward"], row["exists"], row["searches"], row["search_failures"]) == ([0.5], [0.5], 1.0, 1)
    assert (row["turns"], row["generated_tokens"], row["nll"]) == (0.5, 1.0, 1.0)
    assert (row["missing"], row["search_retries"], row["truncated"]) == (3, 2, 0.0)


def test_only_members_that_have_an_episode_can_differ_in_it():
    rewards_QGN = torch.tensor([[[1.0], [0.0]], [[1.0], [0.0]], [[0.5], [0.5]]])
    exists_QGN = torch.tensor([[[True], [False]], [[True], [True]], [[False], [False]]])
    assert zero_variance_groups(rewards_QGN, exists_QGN) == pytest.approx(2 / 3)
    assert zero_variance_groups(torch.zeros(0, 0, 2), torch.zeros(0, 0, 2, dtype=torch.bool)) == 1.0


def test_searches_are_counted_and_limited_in_one_place():
    """Another count of failed searches would compare them with the limit by itself."""
    limited = [path.name for path in SOURCE.rglob("*.py") if "client.max_failure_rate" in path.read_text()]
    assert sorted(limited) == ["stages.py", "tally.py"], "stages.py only names the key"
    summaries = [path.name for path in SOURCE.rglob("*.py") if '"zero_variance_groups":' in path.read_text()]
    assert summaries == ["summary.py"], "both trainers log with one writer"
