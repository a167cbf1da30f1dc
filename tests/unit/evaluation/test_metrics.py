"""Records to scores to metrics: complete, correct and the same in any order."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.made_up import score_again

from mrsearch.agent import scoring
from mrsearch.agent.ports import Hit, Passage
from mrsearch.agent.record_files import read_records, write_records
from mrsearch.agent.records import ActionKind, Episode, MetaEpisode, Question, StopReason, Turn
from mrsearch.config import Study
from mrsearch.config.layout import all_record_files, all_score_files
from mrsearch.evaluation.choices import by_count, last_valid, vote
from mrsearch.evaluation.comparisons import Basis, basis
from mrsearch.evaluation.metrics import write_metrics
from mrsearch.evaluation.score_files import write_scores
from mrsearch.evaluation.scores import TRANSITIONS, score_record, score_row, transitions
from mrsearch.evaluation.significance import sign_flip_test

pytestmark = pytest.mark.slow

WORDS = st.lists(st.sampled_from(["the", "a", "Paris", "city", "of", "-", "light", "1,000"]), max_size=4).map(" ".join)


def make_record(*answers: str | None, golds: tuple[str, ...] = ("yes",)) -> MetaEpisode:
    episodes = [Episode([], answer, StopReason.answered) for answer in answers]
    record = MetaEpisode(
        Question("q", "?", golds), [1, 2], [0, 1], [0, 0], [0.0, 0.0], 1, episodes, StopReason.answered
    )
    record.tags["scores"] = score_record(record)
    return record


@given(WORDS, WORDS)
def test_em_implies_f1(prediction: str, gold: str):
    scores = score_record(make_record(prediction, golds=(gold,)))
    if scores["em"] == [1.0]:
        assert scores["f1"] == [1.0]
        assert scores["sub_em"] == [1.0]
    assert scores["em"] <= scores["sub_em"]


def test_last_valid_last_and_best():
    row = score_row(make_record("no", "yes", None), 3, 1)
    assert row["em"] == [0.0, 1.0, 0.0]
    assert (row["em_last_valid"], row["em_last"], row["em_best"]) == (1.0, 0.0, 1.0)
    row = score_row(make_record("yes", "no", None), 3, 1)
    assert (row["em_last_valid"], row["em_last"], row["em_best"]) == (0.0, 0.0, 1.0)
    row = score_row(make_record(None, None), 2, 1)
    assert (row["em_last_valid"], row["em_last"], row["em_best"]) == (0.0, 0.0, 0.0)


def test_episodes_that_never_ran_score_nothing():
    row = score_row(make_record("yes"), 3, 1)
    assert row["em"] == [1.0, 0.0, 0.0]
    assert row["corrupted"] == [0.0, 0.0]
    assert row["unanswered"] == [1.0, 0.0]
    assert row["episodes_run"] == 1
    assert row["em_last_valid"] == 1.0


def test_too_many_episodes_are_refused():
    with pytest.raises(ValueError, match="has 3 episodes, but its method has 2"):
        score_row(make_record("a", "b", "c"), 2, 1)


@pytest.mark.parametrize("stop", [StopReason.agreed, StopReason.confident])
def test_episodes_that_were_not_needed_score_as_the_last(stop: StopReason):
    record = make_record("no", "yes", "yes")
    record.stop = stop
    row = score_row(record, 5, 1)
    assert row["em"] == [0.0, 1.0, 1.0, 1.0, 1.0]
    assert (row["em_last"], row["em_last_valid"], row["em_best"], row["em_vote"]) == (1.0, 1.0, 1.0, 1.0)
    assert row["kept"] == [0.0, 1.0, 1.0, 1.0]
    assert row["corrupted"] == row["unanswered"] == [0.0] * 4
    assert row["turns"] == [0.0] * 5, "no cost is carried forward"
    record.stop = StopReason.context_limit
    assert score_row(record, 5, 1)["em"] == [0.0, 1.0, 1.0, 0.0, 0.0]


def test_parallel_samples_answer_by_vote():
    record = make_record("yes", "no", "The yes", "no", None, "no")
    assert score_row(record, 6, 1)["em_final"] == 0.0
    record = make_record("yes", "no", "Yes!", None, "maybe")
    assert score_row(record, 5, 1)["em_final"] == score_row(record, 5, 1)["em_last_valid"] == 0.0
    record.context = "independent"
    row = score_row(record, 5, 1)
    assert row["em_final"] == row["em_vote"] == 1.0
    assert row["em_vote_after"] == [1.0, 1.0, 1.0, 1.0, 1.0], "the earlier of two equally frequent answers wins"
    assert row["em_best_after"] == pytest.approx([0.4, 0.7, 0.9, 1.0, 1.0]), "pass@k of 2 right ones among 5"


@given(st.lists(st.sampled_from([None, "a b", "A  B", "c", "d"]), max_size=7), st.integers(0, 3))
def test_choices_hold_what_they_promise(answers: list[str | None], more: int):
    scores = [0.0 if answer is None else scoring.em(answer, ("a b",)) for answer in answers]
    found = by_count(answers, scores, len(answers) + more, parallel=False)
    assert {len(values) for values in found.values()} == {len(answers) + more}
    assert all(a <= b for a, b in itertools.pairwise(found["best"]))
    assert all(v <= b and w <= b for v, w, b in zip(found["vote"], found["last_valid"], found["best"], strict=True))
    given = [answer for answer in answers if answer is not None]
    assert (vote(answers) is None) == (last_valid(answers) is None) == (not given)
    if given:
        forms = [scoring.normalize(answer) for answer in given]
        winner = scoring.normalize(str(answers[vote(answers)]))  # type: ignore[index]
        assert forms.count(winner) == max(map(forms.count, forms))


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(1, 8))
def test_pass_at_k_is_the_mean_over_all_choices_of_k_samples(right: list[bool], count: int):
    count = min(count, len(right))
    scores = [float(value) for value in right]
    found = by_count(["x"] * len(right), scores, len(right), parallel=True)["best"][count - 1]
    drawn = list(itertools.combinations(scores, count))
    assert found == pytest.approx(sum(map(max, drawn)) / len(drawn))


def found_passages(*texts: str) -> list[Hit]:
    return [Hit(Passage(str(number), "Title", text), 1.0) for number, text in enumerate(texts)]


def test_hits_of_the_agents_own_searches():
    record = make_record("no", None, golds=("Marie Curie", "Curie"))
    assert score_row(record, 2, 3)["hit@3"] == 0.0
    turns = [
        Turn(1, 2, "", ActionKind.search, "q", hits=found_passages("nothing", "nobody", "she was marie curie.")),
        Turn(2, 2, "", ActionKind.answer, "no"),
    ]
    record.episodes[0].turns = turns
    record.tags["scores"] = score_record(record)
    row = score_row(record, 2, 3)
    assert [row["hit@1"], row["hit@2"], row["hit@3"]] == [0.0, 0.0, 1.0]
    record.prompt_hits = found_passages("Curie", "x")
    row = score_row(record, 2, 3)
    assert [row["hit@1"], row["hit@2"], row["hit@3"]] == [1.0, 1.0, 1.0]
    record.prompt_hits = found_passages("Curieux", "x")
    assert score_row(record, 2, 3)["hit@1"] == 0.0, "words, not letters"


def test_the_answer_that_counts_is_the_one_that_is_supported():
    """The first sample answers with what it read, the others by a vote with what nobody read."""
    record = make_record("Curie", "Planck", "planck", golds=("Curie",))
    record.episodes[0].turns = [Turn(1, 2, "", ActionKind.search, "q", hits=found_passages("Curie"))]
    record.tags["scores"] = score_record(record)
    assert [score_row(record, 3, 1, answer=answer)["supported"] for answer in ("first", "last")] == [1.0, 0.0]
    record.context = "independent"
    row = score_row(record, 3, 1, answer="first")
    assert (row["supported"], row["wordless"]) == (0.0, 0.0)
    assert score_row(make_record("No.", None), 2, 1)["wordless"] == 1.0
    row = score_row(make_record(None), 1, 1)
    assert (row["supported"], row["wordless"]) == (0.0, 0.0)


def test_the_yes_no_rule_is_an_option():
    record = make_record("yes it is", golds=("yes",))
    assert score_row(record, 1, 1)["f1_final"] == pytest.approx(0.5)
    assert score_row(record, 1, 1, yes_no_rule=True)["f1_final"] == 0.0


def test_tokens_beside_the_transcript_count():
    record = make_record("no")
    record.episodes[0].turns = [Turn(1, 2, "", ActionKind.answer, "no", aside_tokens=7)]
    record.tags["scores"] = score_record(record)
    row = score_row(record, 1, 1)
    assert row["generated_tokens"] == [8.0]
    assert row["total_tokens"] == 9.0


@given(st.lists(st.sampled_from([(0.0, False), (0.0, True), (1.0, True)]), min_size=2, max_size=6))
def test_transitions_add_up(episodes: list[tuple[float, bool]]):
    em = [score for score, _ in episodes]
    changes = transitions(em, [answered for _, answered in episodes])
    for index in range(1, len(em)):
        corrected, corrupted, unanswered, kept = (changes[name][index - 1] for name in TRANSITIONS)
        assert em[index] == corrected + kept
        assert em[index - 1] == corrupted + unanswered + kept


def test_an_episode_without_an_answer_corrupts_nothing():
    row = score_row(make_record("yes", None, "yes", "no", "yes", None), 7, 1)
    assert row["corrupted"] == [0, 0, 1, 0, 0, 0]
    assert row["unanswered"] == [1, 0, 0, 0, 1, 0]
    record = make_record("yes", None)
    record.stop = StopReason.deadline
    assert score_row(record, 4, 1)["corrupted"] == [0, 0, 0]
    assert score_row(record, 4, 1)["unanswered"] == [1, 0, 0]


@pytest.mark.parametrize("stop", [StopReason.agreed, StopReason.confident])
def test_best_of_samples_that_ended_early_is_the_best_so_far(stop: StopReason):
    """pass@k is about a fixed number of samples; wrong, right, right of ten is right from the second on."""
    record = make_record("no", "yes", "yes")
    record.context, record.stop = "independent", stop
    row = score_row(record, 10, 1)
    assert row["em_best_after"] == [0.0] + [1.0] * 9
    assert row["em_best"] == 1.0


@pytest.fixture
def made(small_study: Study, make_records: Callable[..., Path], tmp_path: Path) -> Path:
    return make_records(small_study, tmp_path / "eval")


def run(study: Study, folder: Path, out: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    write_metrics(study, folder, out / "scores.parquet", out / "metrics.parquet")
    return pd.read_parquet(out / "scores.parquet"), pd.read_parquet(out / "metrics.parquet")


def test_metrics_are_complete_and_agree_with_the_scores(small_study: Study, made: Path, tmp_path: Path):
    scores, metrics = run(small_study, made, tmp_path)
    assert len(scores) == 4 * 3 * 2 * 2 * 12
    assert set(metrics.seed) == {"0", "1", "all"}
    assert set(metrics.benchmark) == {"one", "two", "extra", "average"}
    place = (metrics.method == "mr_search") & (metrics.decoding == "greedy") & (metrics.seed == "all")
    em = metrics[place & (metrics.metric == "em") & (metrics.reference == "")].set_index(["benchmark", "episode"]).value
    of_method = scores[(scores.method == "mr_search") & (scores.decoding == "greedy")]
    for benchmark, group in of_method.groupby("benchmark"):
        assert em[benchmark, "last_valid"] == pytest.approx(group.em_last_valid.mean())
        assert em[benchmark, "2"] == pytest.approx(group.em.str[1].mean())
    assert em["average", "best"] == pytest.approx((em["one", "best"] + em["two", "best"]) / 2)


def test_comparisons_name_their_reference(small_study: Study, made: Path, tmp_path: Path):
    _, metrics = run(small_study, made, tmp_path)
    compared = metrics[(metrics.method == "mr_search") & (metrics.metric == "em_relative")]
    assert set(compared.reference) == {"search_r1", "search_r1_long"}
    assert "em_relative" not in set(metrics[metrics.method == "search_r1"].metric)
    row = compared[(compared.seed == "all") & (compared.benchmark == "average") & (compared.reference == "search_r1")]
    row = row[row.decoding == "greedy"].iloc[0]
    assert row.low <= row.value <= row.high
    p_values = metrics[metrics.metric.isin(["em_p", "em_p_questions"])]
    assert p_values.value.between(0, 1).all()
    assert set(p_values.seed) == {"all"}
    assert set(p_values.benchmark) == {"one", "two", "extra", "average"}


def test_a_mark_says_what_the_interval_says(small_study: Study, made: Path, tmp_path: Path):
    """With several seeds both come from one model."""
    _, metrics = run(small_study, made, tmp_path)
    place = ["method", "decoding", "benchmark", "reference"]
    rows = metrics[(metrics.seed == "all") & (metrics.reference != "")]
    p = rows[rows.metric == "em_p"].set_index(place).value
    intervals = rows[rows.metric == "em_difference"].set_index(place)
    outside = (intervals.low > 0) | (intervals.high < 0)
    assert (outside == (p < 0.05)).all()
    assert outside.any()
    assert not outside.all()


def test_what_nothing_was_trained_for_is_tested_over_questions(
    small_study: Study, make_records: Callable[..., Path], tmp_path: Path
):
    """Seeds of an untrained policy are repeated answers, so both its interval and its test are about questions."""
    raw = small_study.model_dump()
    raw["methods"]["rag"] = {"procedure": "rag", "compare_with": "direct"}
    study = Study.model_validate(raw)
    assert basis(study, "rag", "direct") is Basis.questions
    assert basis(study, "direct", "search_r1") is Basis.methods, "the reference was trained"
    one_seed = Study.model_validate(raw | {"seeds": [0]})
    assert basis(one_seed, "direct", "search_r1") is Basis.weights
    scores, metrics = run(study, make_records(study, tmp_path / "eval", 40), tmp_path)
    rows = metrics[(metrics.seed == "all") & (metrics.reference == "direct") & (metrics.benchmark == "one")]
    values = rows[rows.decoding == "greedy"].set_index("metric").value
    assert values["em_p"] == values["em_p_questions"]
    of = scores[(scores.benchmark == "one") & (scores.decoding == "greedy")]
    means = of.pivot_table(values="em_final", index="question_id", columns="method")
    assert values["em_p"] == sign_flip_test([(means.rag - means.direct).to_numpy()], 10_000, 0)


def test_same_records_give_the_same_bytes(small_study: Study, made: Path, tmp_path: Path):
    run(small_study, made, tmp_path / "a")
    run(small_study, made, tmp_path / "b")
    for name in ("scores.parquet", "metrics.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_order_of_records_does_not_matter(small_study: Study, made: Path, tmp_path: Path):
    run(small_study, made, tmp_path / "a")
    for path in made.rglob("*.jsonl.zst"):
        write_records(path, reversed(list(read_records(path))))
    score_again(small_study, made)
    run(small_study, made, tmp_path / "b")
    assert (tmp_path / "a" / "metrics.parquet").read_bytes() == (tmp_path / "b" / "metrics.parquet").read_bytes()


KEY = ("tiny", "mr_search", 1, "greedy", "two")


def first_file(study: Study, made: Path) -> Path:
    return all_record_files(study, made)[KEY]


def scores_file(study: Study, made: Path) -> Path:
    return all_score_files(study, made)[KEY]


def test_a_missing_file_is_an_error(small_study: Study, made: Path, tmp_path: Path):
    """Also where the records are there: those of an evaluation from before scores were written beside them."""
    scores_file(small_study, made).unlink()
    with pytest.raises(
        ValueError, match=r"1 of 48 files of scores are missing.*mr_search/seed1/two.greedy.*records convert"
    ):
        run(small_study, made, tmp_path)
    assert not list(tmp_path.glob("*.parquet*"))


def test_records_are_not_read(small_study: Study, made: Path, tmp_path: Path):
    run(small_study, made, tmp_path / "a")
    for path in all_record_files(small_study, made).values():
        path.unlink()
    run(small_study, made, tmp_path / "b")
    for name in ("scores.parquet", "metrics.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_every_column_has_one_type_whatever_the_rows_hold(small_study: Study, made: Path, tmp_path: Path):
    """A method of one episode has no transition; its empty lists are lists of numbers too."""
    schemas = {str(pq.read_schema(path).remove_metadata()) for path in all_score_files(small_study, made).values()}
    assert len(schemas) == 1
    run(small_study, made, tmp_path)
    rows = pa.concat_tables([pq.read_table(path) for path in all_score_files(small_study, made).values()])
    everything = pq.read_table(tmp_path / "scores.parquet")
    order = [(name, "ascending") for name in ("model", "method", "seed", "decoding", "benchmark", "question_id")]
    assert everything.schema.equals(rows.schema.remove_metadata())
    assert everything.sort_by(order).equals(rows.replace_schema_metadata(None).sort_by(order))


def test_a_missing_question_is_an_error(small_study: Study, made: Path, tmp_path: Path):
    records = list(read_records(first_file(small_study, made)))
    write_scores(small_study, KEY, records[1:], scores_file(small_study, made))
    with pytest.raises(ValueError, match=r"mr_search, seed 1 has 11 questions, direct, seed 0 has 12.*'two-0'"):
        run(small_study, made, tmp_path)
    assert not list(tmp_path.glob("*.parquet*"))


def test_a_question_that_is_answered_twice_is_an_error(small_study: Study, made: Path, tmp_path: Path):
    key = ("tiny", "direct", 0, "greedy", "two")
    records = list(read_records(all_record_files(small_study, made)[key]))
    write_scores(small_study, key, [*records[1:], records[1]], all_score_files(small_study, made)[key])
    with pytest.raises(ValueError, match="direct, seed 0 answers a question twice"):
        run(small_study, made, tmp_path)


def test_a_misplaced_record_is_an_error(small_study: Study, made: Path):
    records = list(read_records(first_file(small_study, made)))
    records[3].tags["seed"] = 0
    with pytest.raises(ValueError, match="a record is tagged"):
        write_scores(small_study, KEY, records, scores_file(small_study, made))


def test_misplaced_scores_are_an_error(small_study: Study, made: Path, tmp_path: Path):
    seeds = (
        scores_file(small_study, made).parent.with_name(f"seed{seed}") / "two.greedy.scores.parquet" for seed in (0, 1)
    )
    shutil.copyfile(*seeds)
    with pytest.raises(ValueError, match=r"two.greedy.scores.parquet: seed is 0, but the study asks for 1"):
        run(small_study, made, tmp_path)


def test_scores_by_other_settings_are_an_error(small_study: Study, made: Path, tmp_path: Path):
    raw = small_study.model_dump()
    raw["benchmarks"]["two"]["yes_no_rule"] = True
    with pytest.raises(
        ValueError, match="yes_no_rule is False, but the study asks for True: make it from its records with"
    ):
        run(Study.model_validate(raw), made, tmp_path)


def test_records_without_scores_are_an_error(small_study: Study, made: Path):
    records = list(read_records(first_file(small_study, made)))
    del records[0].tags["scores"]
    with pytest.raises(ValueError, match="carries no complete scores"):
        write_scores(small_study, KEY, records, scores_file(small_study, made))


def test_no_record_is_an_error(small_study: Study, made: Path):
    with pytest.raises(ValueError, match="there is no record to score"):
        write_scores(small_study, KEY, [], scores_file(small_study, made))


@pytest.mark.parametrize("size", [0, 500])
def test_a_damaged_file_is_an_error(small_study: Study, made: Path, tmp_path: Path, size: int):
    os.truncate(scores_file(small_study, made), size)
    with pytest.raises(ValueError, match=r"two.greedy.scores.parquet: is no whole file of scores"):
        run(small_study, made, tmp_path)


def test_a_file_of_another_version_is_an_error(small_study: Study, made: Path, tmp_path: Path):
    path = scores_file(small_study, made)
    table = pq.read_table(path)
    refused = [
        (None, "is no file of scores"),
        ({"mrsearch": '{"version": 99}'}, "is of version 99.*use the program that wrote it"),
        ({"mrsearch": '{"version": 1}'}, "is of version 1,.*mrsearch records convert"),
    ]
    for metadata, message in refused:
        pq.write_table(table.replace_schema_metadata(metadata), path)
        with pytest.raises(ValueError, match=message):
            run(small_study, made, tmp_path)


def test_one_seed_is_enough(small_study: Study, make_records: Callable[..., Path], tmp_path: Path):
    study = small_study.model_copy(update={"seeds": (0,)})
    _, metrics = run(study, make_records(study, tmp_path / "eval"), tmp_path)
    numbers = ["value", "low", "high"]
    rows = metrics[~metrics.metric.str.contains("_p")].set_index("seed")
    alone, together = (rows.loc[seed, numbers].reset_index(drop=True) for seed in ("0", "all"))
    pd.testing.assert_frame_equal(alone, together)
