"""The preset `mr_search` from published training rows to scores: wording, training, evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from support.evaluations import make_inputs, run_evaluation
from support.project import ROOT
from support.small_world import OVERRIDES
from support.trainings import training_run

from mrsearch.agent.record_files import read_records
from mrsearch.agent.scoring import episode_scores
from mrsearch.config import Run, Study, load_study
from mrsearch.data.questions import write_questions
from mrsearch.policy.tokenizer import load_tokenizer
from mrsearch.training.launch import train_method

pytestmark = pytest.mark.integration
TEMPLATE = "Answer with searches .\nThink first .\nQuestion: {question}\n"
REFLECTION = "Look at your answer again ."
HINT = "\nThat was no action .\n"
MODEL = {
    "kind": "tiny",
    "tokenizer": "bpe",
    "vocabulary": 600,
    "hidden_size": 32,
    "layers": 1,
    "heads": 2,
    "kv_heads": 2,
    "intermediate_size": 48,
    "tag_preference": 4.0,
}


def published_rows(path: Path) -> Path:
    """A training file of the schema in which Search-R1 and MR-Search publish theirs."""
    names = ("who wrote the play", "where is the bridge?", "when did it open")
    rows = [
        {
            "id": f"train_{number}",
            "question": name,
            "golden_answers": ["one"],
            "data_source": "nq",
            "prompt": [{"role": "user", "content": TEMPLATE.format(question=name.removesuffix("?") + "?")}],
            "ability": "fact-reasoning",
            "reward_model": {"style": "rule", "ground_truth": {"target": ["one"]}},
            "extra_info": {"index": number, "split": "train"},
            "metadata": None,
        }
        for number, name in enumerate(names)
    ]
    parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("wording")
    (folder / "reflection.txt").write_text(REFLECTION)
    (folder / "hint.txt").write_text(HINT)
    wording = {
        "prompts": str(published_rows(folder / "train.parquet")),
        "reflection": str(folder / "reflection.txt"),
        "invalid_action": str(folder / "hint.txt"),
    }
    budgets = {"max_observation_tokens": 60, "max_turn_tokens": 16, "max_context_tokens": 1200, "max_turns": 2}
    overrides = OVERRIDES | {
        "protocol": {"preset": "mr_search", "wording": wording, **budgets},
        "models.tiny": MODEL,
        "methods": {"mr_search": {"episodes": 3, "train": {"algorithm": "mr_search"}}},
        "benchmarks": {"single_hop": {}, "two_hop": {}},
        "report": {"baseline": "mr_search", "decoding": "sampled"},
        "evaluation.decoding": {"sampled": {"temperature": 1.0}},
        "training.steps": 2,
    }
    return load_study(Run(study="demo", overrides=overrides), ROOT)


@pytest.fixture(scope="module")
def trained(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The inputs of both, with the trained model in the place of the base's."""
    folder = make_inputs(study, tmp_path_factory.mktemp("inputs"))
    write_questions(study, "train", folder / "train.parquet")
    (folder / "model").rename(folder / "base")
    train_method(training_run(study, "tiny", "mr_search", 0, folder, folder))
    return folder


def prompt_of(question: str) -> str:
    return TEMPLATE.format(question=question.removesuffix("?") + "?")


def assert_published_words(study: Study, text: str, question: str) -> None:
    """The first user message is the published template, and each later episode begins with the reflection and the
    instructions, which are the template without its last line."""
    assert study.protocol.prompts.search == TEMPLATE
    first, *later = text.split("<|im_start|>user\n")[1:]
    assert first.startswith(prompt_of(question))
    assert later and all(message.startswith(REFLECTION) for message in later)
    assert all("Think first ." in message and question not in message.split("<|im_end|>")[0] for message in later)


def test_it_trains_three_episodes_in_the_published_words(study: Study, trained: Path) -> None:
    steps = [json.loads(line) for line in (trained / "train.jsonl").read_text().splitlines()]
    assert [row["step"] for row in steps] == [0, 1] and all(row["missing"] == 0 for row in steps)
    tokenizer = load_tokenizer(trained / "model")
    records = list(read_records(trained / "groups.jsonl.zst"))
    whole = [record for record in records if len(record.episodes) == 3]
    assert whole, "some meta-episodes had room for three"
    for record in whole:
        assert_published_words(study, tokenizer.decode(record.token_ids), record.question.question)
        assert record.tags["rewards"][record.tags["member"]] == episode_scores(record, "em")


def test_what_it_trained_is_evaluated_in_the_same_words(study: Study, trained: Path, tmp_path: Path) -> None:
    out = run_evaluation(study, trained, tmp_path, "mr_search")
    tokenizer = load_tokenizer(trained / "model")
    records = [record for path in sorted(out.glob("*.jsonl.zst")) for record in read_records(path)]
    assert len(records) == 8
    for record in records:
        if len(record.episodes) > 1:
            assert_published_words(study, tokenizer.decode(record.token_ids), record.question.question)
    run = json.loads((out / "run.json").read_text())
    assert run["config"]["protocol"]["prompts"]["search"] == TEMPLATE
    assert run["warnings"] == []
