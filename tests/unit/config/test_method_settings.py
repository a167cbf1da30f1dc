"""Settings of one method: they take the place of the shared ones for it, and change nothing for the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mrsearch.agent.spec import AgentSpec
from mrsearch.config import ConfigError, Run, Study, digest, load_study, read_study, stages, write_study
from mrsearch.config.prompt_words import words_of_methods
from mrsearch.training.run import TrainingRun

TRAINED = ("warm_start", "search_r1", "search_r1_long", "mr_search")


def load(**overrides: Any) -> Study:
    return load_study(Run(overrides={key.replace("__", "."): value for key, value in overrides.items()}))


def digests(study: Study) -> dict[str, str]:
    """Digest of every training, every evaluation, and what all methods share."""
    shared = {"questions": stages.questions(study, "two_hop"), "index": stages.index(study, "dense")}
    shared |= {"base": stages.base_model(study, "tiny"), "report": stages.report(study)}
    trained = {f"train {name}": stages.train(study, "tiny", name) for name in TRAINED}
    return shared | trained | {f"evaluate {name}": stages.evaluate(study, name) for name in study.methods}


@pytest.mark.parametrize(
    ("key", "value", "changed"),
    [
        ("training", {"learning_rate": 1e-3}, {"train mr_search"}),
        ("training", {"learning_rate": 2e-4, "group_size": 5}, set()),
        ("training", {"verl": {"offload": True}}, set()),
        ("protocol", {"max_context_tokens": 320}, {"train mr_search", "evaluate mr_search"}),
        ("protocol", {"prompts": {"reflection": "search again"}}, {"train mr_search", "evaluate mr_search"}),
        ("protocol", {"prompts": {"reflection": "new words"}}, {"train mr_search", "evaluate mr_search", "base"}),
        ("retrieval", {"use": "ivf_sq8"}, {"train mr_search", "evaluate mr_search"}),
        ("retrieval", {"use": "dense"}, set()),
    ],
)
def test_a_methods_own_setting_changes_its_digests_alone(key: str, value: Any, changed: set[str]) -> None:
    before, after = digests(load()), digests(load(**{f"methods__mr_search__{key}": value}))
    assert {stage for stage in before if before[stage] != after[stage]} == changed


def test_a_shared_setting_changes_no_method_that_has_its_own() -> None:
    own = {"methods__mr_search__training": {"learning_rate": 1e-3}}
    before, after = digests(load(**own)), digests(load(**own, training__learning_rate=5e-4))
    assert {stage for stage in before if before[stage] != after[stage]} == {"train search_r1", "train search_r1_long"}


@pytest.fixture
def study() -> Study:
    """The demo with a method that has everything for itself."""
    return load(
        methods__mr_search__training={"learning_rate": 1e-3, "betas": [0.5, 0.6], "verl": {"offload": True}},
        methods__mr_search__protocol={"prompts": {"reflection": "search again"}, "max_context_tokens": 320},
        methods__mr_search__retrieval={"use": "ivf_sq8"},
        methods__search_r1__training={"steps": 7},
    )


def test_the_study_as_a_method_has_it(study: Study) -> None:
    view, shared = study.of("mr_search"), study.training
    assert view.training.model_dump() == shared.model_dump() | {
        "learning_rate": 1e-3,
        "betas": (0.5, 0.6),
        "verl": shared.verl.model_dump() | {"offload": True},
    }
    assert (view.protocol.prompts.reflection, view.protocol.max_context_tokens) == ("search again", 320)
    assert view.protocol.prompts.search == study.protocol.prompts.search
    assert view.retrieval.use == "ivf_sq8"
    assert view.of("mr_search") is view
    assert study.of("direct") is study


def test_what_the_others_have_stays_theirs_in_it(study: Study) -> None:
    view = study.of("mr_search")
    before, after = digests(study), digests(view)
    searching = [name for name, method in study.methods.items() if method.searches]
    for stage in [*(f"train {name}" for name in TRAINED), *(f"evaluate {name}" for name in searching)]:
        assert before[stage] == after[stage], stage
    assert Study.model_validate(view.model_dump(mode="json")) == view


def test_agents_and_trainings_have_the_methods_settings(study: Study, tmp_path: Path) -> None:
    spec = AgentSpec.of(study, "mr_search")
    assert spec.protocol.prompts.reflection == "search again"
    assert AgentSpec.of(study, "search_r1").protocol == study.protocol
    run = TrainingRun.planned(study, "tiny", "mr_search", 0)
    assert (run.study.training.learning_rate, run.study.retrieval.use) == (1e-3, "ivf_sq8")
    run.write(tmp_path / "run.json")
    assert TrainingRun.read(tmp_path / "run.json") == run
    assert TrainingRun.planned(study, "tiny", "search_r1", 0).steps == 7


def test_every_retriever_that_a_method_searches_is_indexed_once(study: Study) -> None:
    assert study.searched() == ("dense", "ivf_sq8")
    assert study.indexed() == ("dense", "ivf_sq8")
    assert (study.index_of("mr_search"), study.index_of("search_r1")) == (("ivf_sq8",), ("dense",))
    assert study.searching("ivf_sq8").retrieval.use == "ivf_sq8"
    with pytest.raises(ValueError, match=r"retriever 'bm25' is not in study demo: known are dense, ivf_sq8, pq_refine"):
        study.searching("bm25")


def test_words_of_one_methods_prompts_are_words_of_the_tiny_model() -> None:
    prompts = {"prompts": {"reflection": "reflect anew on your {think} answer"}}
    assert words_of_methods(load(methods__mr_search__protocol=prompts)) == ["anew"]
    assert words_of_methods(load()) == []


def test_words_of_budgets_and_of_requests_for_summaries_are_in_the_vocabulary() -> None:
    told = load(methods__mr_search__protocol={"prompts": {"budget": "left {searches}"}, "max_turns": 2})
    assert words_of_methods(told) == ["0", "1", "2", "left"]
    asked = load(methods__mr_search__context="summary", protocol__prompts__summary="note it")
    assert words_of_methods(asked) == ["it", "note"]


def test_a_written_study_keeps_each_methods_settings(study: Study, tmp_path: Path) -> None:
    write_study(study, tmp_path / "study.json")
    assert digest(read_study(tmp_path / "study.json")) == digest(study)
    assert digests(read_study(tmp_path / "study.json")) == digests(study)


@pytest.mark.parametrize(
    ("method", "keys", "message"),
    [
        ("mr_search", {"training": {"learning_rat": 1}}, "methods.mr_search.training.learning_rat: unknown key"),
        ("mr_search", {"training": {"steps": True}}, "methods.mr_search.training.steps: is no truth value"),
        ("mr_search", {"training": {"mini_batch_size": 5}}, "train_batch_size (32) must be a multiple"),
        ("mr_search", {"training": {"group_size": 1}}, "training.group_size (1): methods.mr_search trains by"),
        ("direct", {"training": {"steps": 2}}, "methods.direct: training changes how this method is trained"),
        ("warm_start", {"training": {"steps": 2}}, "methods.warm_start: training changes how this method is trained"),
        ("direct", {"retrieval": {"use": "dense"}}, "methods.direct: procedure 'direct' does not search"),
        ("rag", {"retrieval": {"use": "bm25"}}, "methods.rag.retrieval.use ('bm25') is not among"),
        ("rag", {"retrieval": {"topk": 2}}, "methods.rag.retrieval.use: Field required"),
        ("rag", {"protocol": {"answer": "last"}}, "methods.rag: protocol.answer is the same for all methods"),
        ("rag", {"protocol": {"prompts": {"rag": "no field"}}}, "methods.rag.protocol.prompts.rag: the prompt"),
    ],
)
def test_settings_that_cannot_work_are_refused(method: str, keys: dict[str, Any], message: str) -> None:
    overrides = {f"methods__{method}__{key}": value for key, value in keys.items()}
    with pytest.raises(ConfigError) as error:
        load(**overrides)
    assert message in str(error.value)


def test_the_page_shows_methods_that_are_accepted(root: Path) -> None:
    page = (root / "docs/studies.md").read_text(encoding="utf-8").partition("### Settings of one method")[2]
    rows = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])["methods"]
    study = load(**{f"methods__{name}": row for name, row in rows.items()})
    assert study.of("reworded").protocol.max_context_tokens == 800
    assert stages.train(study, "tiny", "warm_start") == stages.train(load(), "tiny", "warm_start")


def test_a_warm_starts_own_setting_changes_its_digests_alone() -> None:
    before, after = digests(load()), digests(load(methods__warm_start__warm_start={"persistence": 0.1}))
    assert {stage for stage in before if before[stage] != after[stage]} == {"train warm_start"}
    shared = load(warm_start__persistence=0.1)
    assert after["train warm_start"] == stages.train(shared, "tiny", "warm_start")


def test_other_methods_keep_the_shared_warm_start() -> None:
    study = load(methods__warm_start__warm_start={"steps": 7})
    assert (study.training_steps("warm_start"), study.warm_start.steps) == (7, load().warm_start.steps)
    assert study.of("warm_start").warm_start.steps == 7
    assert study.of("warm_start").methods["mr_search"] == study.methods["mr_search"]
    with pytest.raises(ConfigError, match=r"methods.mr_search.*warm_start changes how this method is trained"):
        load(methods__mr_search__warm_start={"steps": 7})
    with pytest.raises(ConfigError, match=r"methods.warm_start.warm_start.steps"):
        load(methods__warm_start__warm_start={"steps": 0})
