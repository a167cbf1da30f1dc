"""The local trainer's validation: what it holds out, and which weights it keeps."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from support.transcripts import DEGENERATE, HEALTHY, transcript

from mrsearch.agent.records import Question
from mrsearch.config.training import PolicyTraining
from mrsearch.training.rl import validator
from mrsearch.training.rl.validator import Validator

QUESTIONS = [Question(str(number), "q?", ("Ada",)) for number in range(20)]
CONFIG = PolicyTraining(
    train_batch_size=4,
    mini_batch_size=4,
    checkpoint_every=5,
    local={"validation_questions": 8, "validate_every": 10, "export": "best"},
)


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """A judge of a model that answers so many of the questions right, in what order does not matter."""
    held = Validator(CONFIG, QUESTIONS, tmp_path / "best")

    def judge(step, right):
        names = [question.id for question in held.questions]

        async def procedure(question, *_):
            meta = transcript(HEALTHY["one search"] if names.index(question.id) < right else DEGENERATE["made up"])
            meta.question = question
            return meta

        monkeypatch.setattr(validator, "run_procedure", procedure)
        agent = SimpleNamespace(policy=None, spec=SimpleNamespace(protocol=SimpleNamespace(scoring="em")))
        model = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(model.weight, step)
        return held.judge(step, agent, model, seed=0)

    judge.held = held
    return judge


def test_only_what_is_better_by_more_than_chance_takes_the_place_of_the_best(judged, tmp_path):
    assert judged(10, right=4) == {"validation": 0.5}
    row = judged(20, right=5)
    assert row["validation"] == 5 / 8 and row["validation_gain"][0] < 0
    assert json.loads((tmp_path / "best/scores.json").read_text())["step"] == 10
    assert judged(30, right=8)["validation_gain"] == pytest.approx([0.142, 0.858], abs=1e-3)
    model = torch.nn.Linear(1, 1)
    judged.held.restore_best(model)
    assert model.weight.item() == 30


def test_a_validation_made_again_after_an_interruption_keeps_what_it_kept(judged, tmp_path):
    judged(10, right=4)
    assert judged(10, right=4) == {"validation": 0.5}
    assert json.loads((tmp_path / "best/scores.json").read_text())["step"] == 10


def test_held_out_questions_are_not_trained_on(judged):
    held = judged.held
    assert (len(held.questions), len(held.trained)) == (8, 12)
    assert not set(held.questions) & set(held.trained)
    assert [held.due(step, False) for step in (5, 10, 20)] == [False, True, True] and held.due(7, True)
    with pytest.raises(ValueError, match=r"train_batch_size \(4\) and training.local.validation_questions \(8\)"):
        Validator(CONFIG, QUESTIONS[:11], judged.held.folder)


def test_without_validation_all_questions_are_trained_on(tmp_path):
    quiet = Validator(PolicyTraining(), QUESTIONS, tmp_path)
    assert quiet.trained == QUESTIONS and not quiet.due(50, True)


def test_the_last_weights_are_exported_unless_the_best_are_asked_for(tmp_path):
    model = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(model.weight, 7.0)
    Validator(PolicyTraining(), QUESTIONS, tmp_path).restore_best(model)
    assert model.weight.item() == 7


@pytest.mark.parametrize(
    ("local", "message"),
    [
        ({"export": "best"}, "export: best needs validation_questions"),
        ({"validation_questions": 8, "validate_every": 7}, r"local.validate_every \(7\) must be a multiple of"),
    ],
)
def test_settings_without_a_checkpoint_of_the_best_are_refused(local, message):
    with pytest.raises(ValueError, match=message):
        PolicyTraining(local=local)
