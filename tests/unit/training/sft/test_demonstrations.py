"""What fine-tuning imitates, and the settings that choose it."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.tiny import tiny_model, word_tokenizer

from mrsearch.agent.ports import SearchError
from mrsearch.config import ConfigError, Run, load_study, stages
from mrsearch.config.resources import Resources
from mrsearch.files import read_json
from mrsearch.training.run import Inputs, Outputs, TrainingRun
from mrsearch.training.sft.demonstration_file import Demonstration, DemonstrationFile, write_demonstrations
from mrsearch.training.sft.demonstrations import Demonstrations, chosen_questions
from mrsearch.training.sft.loop import learning_rate, plan
from mrsearch.training.submit import JobTarget, training_python

ANSWERS = {"procedure": "direct", "train": {"algorithm": "sft", "demonstrations": "gold_answers"}}
OWN = {"train": {"algorithm": "sft", "demonstrations": "self_generated"}}
QUESTIONS = [("q0", "who ?", ["ann lee", "ann"]), ("q1", "where ?", ["oslo"]), ("q2", "when ?", ["may"])]


def study_with(root, method, **overrides):
    return load_study(Run(overrides={"methods.tuned": method, **overrides}), root)


def hub_study(root, method, **overrides):
    return load_study(Run(study="paper", overrides={"methods.tuned": method, **overrides}), root)


# --- settings ---


def test_published_questions_have_no_script_but_other_demonstrations(root):
    with pytest.raises(ConfigError, match=r"only data\.kind: world has: set .* to gold_answers or self_generated"):
        hub_study(root, {"train": {"algorithm": "sft"}})
    for method in (ANSWERS, OWN):
        assert hub_study(root, method).training_stage("tuned") == "sft"


@pytest.mark.parametrize("procedure", ["meta_episode", "ircot", "search_o1"])
def test_answers_need_a_procedure_of_one_generation(root, procedure):
    with pytest.raises(ConfigError, match=rf"procedure {procedure}: use one of direct, cot, rag, or .* self_generated"):
        study_with(root, ANSWERS | {"procedure": procedure})


def test_other_algorithms_imitate_nothing(root):
    with pytest.raises(ConfigError, match="algorithm is grpo: set sft, or remove them"):
        study_with(root, {"train": {"algorithm": "grpo", "demonstrations": "self_generated"}})


def test_verl_fine_tunes_on_one_node_in_whole_microbatches(root):
    settings = {"sft.backend": "verl", "sft.train_batch_size": 32}
    with pytest.raises(ConfigError, match=r"resources\.sft\.nodes \(2\)"):
        study_with(root, OWN, **settings, **{"resources.sft.nodes": 2})
    with pytest.raises(
        ConfigError, match=r"train_batch_size \(32\) must be a multiple of .*micro_batch_size \(4\) on each of 3"
    ):
        study_with(root, OWN, **settings, **{"resources.sft.gpus": 3})
    assert study_with(root, OWN, **settings, **{"resources.sft.gpus": 8}).trained_by_verl("tuned")


def test_steps_and_stage_follow_what_is_imitated(root):
    study = study_with(root, OWN, **{"sft.steps": 7})
    assert (study.training_stage("tuned"), study.training_steps("tuned")) == ("sft", 7)
    assert (study.training_stage("warm_start"), study.training_steps("warm_start")) == (
        "warm_start",
        study.warm_start.steps,
    )
    assert not study.trained_by_verl("tuned")
    assert not study.trained_by_verl("warm_start")


@pytest.mark.parametrize(
    ("key", "value", "changed"),
    [
        ("sft.steps", 7, {"answers", "own"}),
        ("sft.backend", "verl", {"answers", "own"}),
        ("sft.samples", 2, {"own"}),
        ("sft.temperature", 0.5, {"own"}),
        ("evaluation.concurrency", 7, {"own"}),
        ("evaluation.generator.dtype", "bfloat16", {"own"}),
        ("evaluation.generator.start_seconds", 5.0, set()),
        ("evaluation.decoding.sampled.temperature", 0.5, set()),
        ("warm_start.steps", 7, {"script"}),
        ("training.steps", 7, set()),
    ],
)
def test_a_setting_changes_the_digests_of_those_it_concerns(root, key, value, changed):
    methods = {"methods.answers": ANSWERS, "methods.own": OWN, "methods.script": {"train": {"algorithm": "sft"}}}

    def digests(more):
        study = load_study(Run(overrides=methods | more), root)
        return {name: stages.train(study, "tiny", name) for name in ("answers", "own", "script")}

    before, after = digests({}), digests({key: value})
    assert {name for name in before if before[name] != after[name]} == changed


def test_a_training_runs_in_the_environment_of_its_job(root, tmp_path):
    here, (gpu, verl) = JobTarget("local", tmp_path / "site.yaml", Resources()), (tmp_path / "gpu", tmp_path / "verl")
    for environment in (gpu, verl):
        (environment / "bin").mkdir(parents=True)
        (environment / "bin" / "python").touch()
    own, by_verl = study_with(root, OWN), study_with(root, OWN, **{"sft.backend": "verl"})
    assert training_python(own, "tuned", gpu, verl, here) is None
    assert training_python(by_verl, "tuned", gpu, verl, here) == verl / "bin" / "python"
    assert training_python(by_verl, "warm_start", gpu, verl, here) is None
    with pytest.raises(ValueError, match=r"paths\.train_environment .*absent.*: make it with `make train-env"):
        training_python(by_verl, "tuned", gpu, tmp_path / "absent", here)
    on_gpus = JobTarget("local", tmp_path / "site.yaml", Resources(gpus=2))
    for study in (own, by_verl):
        assert training_python(study, "tuned", gpu, verl, on_gpus) == gpu / "bin" / "python"
    with pytest.raises(ValueError, match=r"paths\.gpu_environment .*absent.* is no virtual environment.*make gpu-env"):
        training_python(own, "tuned", tmp_path / "absent", verl, on_gpus)


# --- demonstrations ---


class Gone:
    """An engine whose patience is spent."""

    async def search(self, query, topk):
        raise SearchError(f"no answer to {query}")


@pytest.fixture
def inputs(tmp_path):
    """A tiny model, three questions and no index."""
    words = ["ann", "lee", "oslo", "may", "who", "where", "when", "?"]
    tokenizer = word_tokenizer(words)
    tokenizer.save_pretrained(tmp_path / "start")
    tiny_model(len(tokenizer)).save_pretrained(tmp_path / "start")
    rows = [
        {"id": name, "question": text, "golden_answers": golds, "data_source": "train"}
        for name, text, golds in QUESTIONS
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    (tmp_path / "index").mkdir()
    return Inputs(tmp_path / "start", tmp_path / "train.parquet", tmp_path, tmp_path / "index", None)


def made(study, inputs, folder, engine=None):
    folder.mkdir(exist_ok=True)
    outputs = Outputs(folder / "model", folder / "train.jsonl", folder / "run.json")
    return Demonstrations(TrainingRun(study, "tiny", "tuned", 0, inputs, outputs, folder), engine)


def test_an_answer_is_the_first_golden_one_between_tags_and_alone_is_trained(root, inputs, tmp_path):
    from mrsearch.policy.tokenizer import load_tokenizer

    demonstrations = DemonstrationFile(made(study_with(root, ANSWERS), inputs, tmp_path / "run").make())
    tokenizer = load_tokenizer(inputs.start)
    assert len(demonstrations) == len(QUESTIONS)
    for demonstration, (_, text, golds) in zip(demonstrations, QUESTIONS, strict=True):
        reply = tokenizer.encode(f"<answer> {golds[0]} </answer>", add_special_tokens=False)
        assert demonstration.token_ids[-len(reply) :] == reply
        assert demonstration.loss_mask == [0] * (len(demonstration.token_ids) - len(reply)) + [1] * len(reply)
        assert text in tokenizer.decode(demonstration.token_ids)
    counts = read_json(tmp_path / "run" / "demonstrations.json")
    assert (counts["right"], counts["records"], counts["demonstrations"], counts["searches"]) == (3, 3, 3, 0)


def test_an_answer_that_is_cut_is_not_imitated(root, inputs, tmp_path):
    short = study_with(root, ANSWERS, **{"protocol.max_turn_tokens": 3})
    demonstrations = DemonstrationFile(made(short, inputs, tmp_path / "run").make())
    assert len(demonstrations) == 2, "only <answer> ann lee </answer> has four tokens"
    shorter = study_with(root, ANSWERS, **{"protocol.max_turn_tokens": 2})
    with pytest.raises(ValueError, match=r"none of 3 golden answers fits .*: raise protocol\.max_turn_tokens \(2\)"):
        made(shorter, inputs, tmp_path / "other").make()


def test_a_policy_that_is_never_right_is_named_with_a_way_out(root, inputs, tmp_path):
    study = study_with(root, OWN | {"procedure": "direct"}, **{"sft.samples": 2})
    with pytest.raises(ValueError, match=r"none of the 6 meta-episodes .* raise sft\.questions .*start"):
        made(study, inputs, tmp_path / "run").make()
    assert not list((tmp_path / "run").iterdir()), "nothing that failed is kept"


def test_searches_that_fail_end_it_where_they_are_too_many(root, inputs, tmp_path):
    rag = ANSWERS | {"procedure": "rag"}
    with pytest.raises(ValueError, match=r"tuned: 3 of 3 searches failed, more than .*max_failure_rate \(0\.0"):
        made(study_with(root, rag), inputs, tmp_path / "run", Gone()).make()
    assert not list((tmp_path / "run").iterdir()), "failed searches are tried again the next time"


def test_questions_are_drawn_by_seed_in_file_order(root, inputs, tmp_path):
    study = study_with(root, ANSWERS, **{"sft.questions": 2})
    draws = {tuple(one.id for one in chosen_questions(study, seed, inputs.questions)) for seed in range(20)}
    assert draws == {("q0", "q1"), ("q0", "q2"), ("q1", "q2")}
    assert len(DemonstrationFile(made(study, inputs, tmp_path / "run").make())) == 2
    with pytest.raises(ValueError, match=r"sft\.questions \(9\) is larger than .* \(3 questions\)"):
        chosen_questions(study_with(root, ANSWERS, **{"sft.questions": 9}), 0, inputs.questions)


def test_traces_are_made_again_for_other_weights_alone(root, inputs, tmp_path):
    study = study_with(root, ANSWERS)
    path = made(study, inputs, tmp_path / "run").make()
    first, before = path.read_bytes(), path.stat().st_mtime_ns
    assert made(study, inputs, tmp_path / "run").make().stat().st_mtime_ns == before
    tiny_model(90, seed=1).save_pretrained(inputs.start)
    assert made(study, inputs, tmp_path / "run").make().stat().st_mtime_ns != before
    assert path.read_bytes() == first, "golden answers do not depend on weights"


def test_a_trace_file_gives_back_what_was_written(tmp_path):
    demonstrations = [Demonstration(list(range(n, 2 * n)), [n % 2] * n) for n in range(1, 1500)]
    assert write_demonstrations(tmp_path / "t.parquet", iter(demonstrations)) == len(demonstrations)
    found = DemonstrationFile(tmp_path / "t.parquet")
    assert list(found) == demonstrations
    assert found.lengths == [len(demonstration.token_ids) for demonstration in demonstrations]


# --- the plan of a training ---


def test_every_step_has_whole_batches_and_passes_are_complete(root):
    config = study_with(root, OWN, **{"sft.steps": 15, "sft.train_batch_size": 4}).sft
    batches = plan(config, [10] * 20, seed=1)
    assert [len(batch) for batch in batches] == [4] * 15
    assert len({index for batch in batches for index in batch}) == 20
    assert plan(config, [10] * 20, seed=2) != batches == plan(config, [10] * 20, seed=1)


def test_fine_tuning_warms_up_to_its_rate_and_decays_to_a_twentieth(root):
    shape = {"sft.steps": 30, "sft.warmup_steps": 10, "sft.learning_rate": 1.0}
    config = study_with(root, OWN, **shape).sft
    rates = [learning_rate(config, step) for step in range(30)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[19] == pytest.approx((1 + 0.05) / 2)
    assert rates[-1] == pytest.approx(0.05)
    assert rates[9:] == sorted(rates[9:], reverse=True)
