"""The study that is rehearsed has the shapes, budgets and jobs of the one that will run, and needs no download."""

from __future__ import annotations

import pytest
from support.project import ROOT

from mrsearch.config import Run, load_study
from mrsearch.data import registry
from mrsearch.planning.shapes import PUBLISHED, shape_of
from mrsearch.rehearsal.study import QUESTIONS, STEPS, rehearsed, rehearsed_method

STUDIES = sorted(path.stem for path in (ROOT / "config" / "studies").glob("*.yaml"))


def study_of(root, name, **overrides):
    return load_study(Run(study=name, overrides=overrides), root)


@pytest.mark.parametrize("name", STUDIES)
def test_every_shipped_study_can_be_rehearsed_without_a_download(root, name):
    study = study_of(root, name)
    small = rehearsed(study)
    assert registry.downloads_of(small) == []
    assert small.resources == study.resources
    assert small.protocol == study.protocol
    assert small.evaluation.generator == study.evaluation.generator
    assert small.training.steps == STEPS
    assert sum(small.data.questions_per_benchmark for _ in small.benchmarks) == QUESTIONS
    assert small.training.train_batch_size % small.training.mini_batch_size == 0


def test_the_papers_largest_model_is_rehearsed_in_its_real_shape(root):
    small = rehearsed(study_of(root, "paper"))
    (name,) = small.models
    shape, real = shape_of(small.models[name]), PUBLISHED["Qwen2.5-7B"]
    assert name == "qwen2.5-7b"
    assert (shape.layers, shape.hidden, shape.heads, shape.kv_heads) == (28, 3584, 28, 4)
    assert small.models[name].embedding_rows == real.vocabulary
    assert shape_of(small.models[name]).kv_bytes == real.kv_bytes
    assert list(rehearsed(study_of(root, "paper"), "qwen2.5-3b").models) == ["qwen2.5-3b"]


def test_it_is_the_trained_method_with_the_most_episodes(root):
    assert rehearsed_method(study_of(root, "paper")) == "mr_search"
    small = rehearsed(study_of(root, "demo"))
    assert small.methods["mr_search"].train.start == "base"
    assert small.report.baseline == "mr_search"


def test_a_study_that_trains_nothing_is_rehearsed_too(root):
    small = rehearsed(study_of(root, "real-smoke"))
    (method,) = small.methods.values()
    assert method.train is None
    assert method.policy == "base"


def test_a_step_has_at_most_the_batch_that_was_asked_for(root):
    paper = study_of(root, "paper")
    assert rehearsed(paper, batch=64).training.train_batch_size == 64
    assert rehearsed(paper, batch=10_000).training.train_batch_size == 512
    assert rehearsed(paper, batch=3).training.mini_batch_size in (1, 3)


def test_an_unknown_model_is_named(root):
    with pytest.raises(ValueError, match=r"--model \('gpt'\) is not a model of demo: known are tiny"):
        rehearsed(study_of(root, "demo"), "gpt")
