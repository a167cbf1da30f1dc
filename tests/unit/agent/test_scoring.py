"""Scoring: hand-made cases, properties, and agreement with the shared judged cases."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.project import REAL_DATA

from mrsearch.agent.records import Episode, MetaEpisode, Question, StopReason
from mrsearch.agent.scoring import em, episode_scores, extract_answer, f1, holds_answer, normalize, score, sub_em

needs_real = pytest.mark.skipif(not REAL_DATA.is_dir(), reason="the shared judged cases are not beside this repository")

SCORING_DIFFERENCES: dict[str, str] = {}
"""Case ids of scoring_cases.jsonl that are scored otherwise on purpose, with the reason: none."""
EXTRACTION_DIFFERENCES: dict[str, str] = {}
"""Case ids of extraction_cases.jsonl that are read otherwise on purpose, with the reason: none."""


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (REAL_DATA / name).read_text(encoding="utf-8").splitlines()]


@needs_real
def test_all_judged_pairs_agree():
    """em, F1 and sub-EM as MR-Search; with the yes/no rule, F1 as HotpotQA."""
    cases = rows("scoring_cases.jsonl")
    assert len(cases) == 440
    wrong = []
    for case in cases:
        prediction, golds = case["prediction"], case["golds"]
        if prediction is None:
            found = [score(None, golds, kind) for kind in ("em", "f1", "sub_em")]
            same = found == [case["em"], case["f1"], case["subem"]]
        elif not golds:
            assert "ValueError" in case["em"]["error"]
            with pytest.raises(ValueError, match="without gold answers"):
                em(prediction, golds)
            continue
        elif not all(map(normalize, golds)):
            continue  # MR-Search lets every prediction hold such an answer
        else:
            found = [em(prediction, golds), f1(prediction, golds), sub_em(prediction, golds)]
            hotpot = f1(prediction, golds, yes_no_rule=True)
            same = found == pytest.approx([case["em"], case["f1"], case["subem"]], abs=1e-12)
            same &= hotpot == pytest.approx(case["alt"]["hotpot_f1"], abs=1e-12)
            same &= normalize(prediction) == case["norm_pred"]
        if not same:
            wrong.append((case["cid"], found, case))
    assert [item for item in wrong if item[0] not in SCORING_DIFFERENCES] == []


@needs_real
def test_all_judged_extractions_agree():
    transcripts = {row["tid"]: row["response"] for row in rows("transcripts.jsonl")}
    cases = rows("extraction_cases.jsonl")
    assert len(cases) == 174
    wrong = []
    for case in cases:
        text = transcripts[case["solution_ref"]] if case.get("solution_ref") else case["solution_str"]
        answer = extract_answer(text)
        scores = [score(answer, case["golds"], "em"), score(answer, case["golds"], "f1")]
        if answer != case["mr_extract"] or scores != pytest.approx(case["mr_em_f1"], abs=1e-12):
            wrong.append((case["xid"], answer, scores, case["mr_extract"]))
    assert [item for item in wrong if item[0] not in EXTRACTION_DIFFERENCES] == []


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Beatles!", "beatles"),
        ("A.B. (c)", "ab c"),
        ("theatre", "theatre"),
        ("an\tapple\na day", "apple day"),
        ("well-known", "wellknown"),
        ("“curly” – dash", "“curly” – dash"),
        ("Ålesund", "ålesund"),
        ("a", ""),
    ],
)
def test_the_normal_form(text, normal):
    assert normalize(text) == normal


@pytest.mark.parametrize(
    ("prediction", "golds", "em_", "f1_", "sub_em_"),
    [
        ("the Eiffel Tower", ["Eiffel tower."], 1, 1, 1),
        ("Tower of Paris", ["Eiffel Tower", "Paris"], 0, 0.5, 1),
        ("Paris", ["Paris, France"], 0, 2 / 3, 0),
        ("Paris Paris", ["Paris"], 0, 2 / 3, 1),
        ("", ["Paris"], 0, 0, 0),
        ("the", ["a"], 0, 0, 0),
        ("a", ["A"], 1, 1, 1),
        ("an answer", ["A"], 0, 0, 0),
        ("the the", ["The  The"], 1, 1, 1),
        ("The", ["The The"], 0, 2 / 3, 0),
        ("Paris", ["?"], 0, 0, 0),
        ("? ?", ["?"], 0, 2 / 3, 1),
        ("?", ["?", "Paris"], 1, 1, 1),
        ("Paris", ["?", "Paris"], 1, 1, 1),
        ("Paris", [""], 0, 0, 0),
        ("", [" "], 0, 0, 0),
    ],
)
def test_the_three_scores(prediction, golds, em_, f1_, sub_em_):
    assert (em(prediction, golds), f1(prediction, golds), sub_em(prediction, golds)) == pytest.approx(
        (em_, f1_, sub_em_)
    )


@pytest.mark.parametrize(
    ("text", "golds", "held"),
    [
        ("Born in New York City.", ["new york"], True),
        ("Born in New  York-City.", ["York City"], True),
        ("The newer Yorkers", ["New York"], False),
        ("the party began", ["art"], False),
        ("He was 22", ["2"], False),
        ("anything", [""], False),
        ("anything", ["...", "Any", "ANYTHING!"], True),
        ("Malmö", ["Malmö"], True),
        ("an album by Beatles members", ["The Beatles"], True),
        ("the King of the Hill", ["king of hill"], True),
        ("vitamin C and a vitamin", ["A"], True),
        ("vitamin C", ["A"], False),
    ],
)
def test_a_passage_holds_an_answer_in_whole_words(text, golds, held):
    assert holds_answer(text, golds) is held


def test_whether_a_passage_holds_an_answer_is_decided_in_one_place():
    """hit@k of the retriever's report, hit@k of the agent's searches and the viewer's badge."""
    from mrsearch.agent import rewards
    from mrsearch.evaluation import search_hits
    from mrsearch.reporting.viewer import records
    from mrsearch.retrieval.indexes import quality

    assert quality.holds_answer is records.holds_answer is holds_answer
    assert search_hits.hit_holds_answer is rewards.hit_holds_answer
    callers = [
        path.name for path in Path(search_hits.__file__).parents[1].rglob("*.py") if "sub_em(" in path.read_text()
    ]
    assert callers == ["scoring.py"], "sub-EM is a score of answers, not a test of passages"


def test_the_yes_no_rule_is_an_option():
    assert f1("yes, they are", ["yes"]) == 0.5
    assert f1("yes, they are", ["yes"], yes_no_rule=True) == 0.0
    assert f1("Yes.", ["yes"], yes_no_rule=True) == 1.0
    assert score("no it is", ["no"], "f1", yes_no_rule=True) == 0.0


def test_no_answer_scores_nothing():
    assert [score(None, ["Bla"], kind) for kind in ("em", "f1", "sub_em")] == [0.0, 0.0, 0.0]
    assert [score("a Bla bla", ["Bla"], kind) for kind in ("em", "f1", "sub_em")] == pytest.approx([0.0, 2 / 3, 1.0])


@pytest.mark.parametrize("scorer", [em, f1, sub_em])
def test_gold_answers_must_exist_and_may_be_one_string(scorer):
    with pytest.raises(ValueError, match="without gold answers"):
        scorer("Bla", [])
    assert scorer("the Bla", "Bla") == 1.0
    assert scorer("B", "Bla") == 0.0


WORDS = st.lists(st.sampled_from(["a", "the", "Paris", "paris", "yes", "no", "x.", "Å"]), max_size=5).map(" ".join)


@given(prediction=WORDS, golds=st.lists(WORDS, min_size=1, max_size=3))
def test_the_scores_are_ordered_and_symmetric(prediction, golds):
    assert em(prediction, golds) <= sub_em(prediction, golds)
    assert 0.0 <= f1(prediction, golds, yes_no_rule=True) <= f1(prediction, golds) <= 1.0
    if em(prediction, golds):
        assert f1(prediction, golds) == 1.0
    if normalize(prediction) and normalize(golds[0]):
        assert f1(prediction, golds[:1]) == pytest.approx(f1(golds[0], [prediction]))
    shuffled = random.Random(0).sample(golds, len(golds))
    assert f1(prediction, shuffled) == f1(prediction, golds)


@pytest.mark.parametrize(
    ("transcript", "answer"),
    [
        ("<answer> London </answer> wait <answer> Paris </answer>", "Paris"),
        ("put it between <answer> and </answer>. <search> q </search>", None),
        ("For example, <answer> Beijing </answer>. <answer>Paris</answer>", "Paris"),
        ("<answer>a<answer>Paris</answer></answer>", "a<answer>Paris"),
        ("<answer></answer>", ""),
        ("Paris", None),
    ],
)
def test_the_answer_of_a_whole_transcript(transcript, answer):
    assert extract_answer(transcript) == answer


def test_every_episode_has_the_score_of_its_answer():
    episodes = [Episode([], "Köln", StopReason.answered), Episode(), Episode([], "the Bla", StopReason.answered)]
    meta = MetaEpisode(Question("q", "?", ("Bla",)), [], [], [], [], 0, episodes, StopReason.answered)
    assert episode_scores(meta, "em") == [0.0, 0.0, 1.0]
    assert episode_scores(meta, "f1") == [0.0, 0.0, 1.0]
