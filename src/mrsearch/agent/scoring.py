"""How an answer is scored against the gold answers."""

from __future__ import annotations

import operator
import re
import string
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from mrsearch.agent.ports import Hit
from mrsearch.agent.records import MetaEpisode

Score = Literal["em", "f1", "sub_em"]

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WORD = re.compile(r"\w+")
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_PROMPT_PHRASES = (
    "between <answer> and </answer>",
    "<answer> and </answer> without detailed illustrations",
    "For example, <answer> Beijing </answer>",
    "inside <answer> and </answer>",
)
"""Where the published prompts mention the answer tags; MR-Search removes these, in this order, before it reads."""


def normalize(text: str) -> str:
    """SQuAD's normal form: lower case, no ASCII punctuation, no article, single spaces; no unicode folding.

    Source: the evaluation script of SQuAD v1.1 (arXiv 1606.05250), which HotpotQA, Search-R1 and MR-Search share.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def em(prediction: str, golds: Sequence[str]) -> float:
    """1.0 where the prediction equals one of the gold answers in normal form, else 0.0.

    Here and below a gold answer of which the normal form leaves nothing ("A", "?") is compared in lower case, and an
    empty one is never right; one gold answer may come as a plain string; no gold answer at all is a ValueError.
    """
    return float(any(gold.strip() and operator.eq(*_forms(prediction, gold)) for gold in _golds(golds)))


def f1(prediction: str, golds: Sequence[str], yes_no_rule: bool = False) -> float:
    """The best harmonic mean of word precision and recall over the gold answers, in [0, 1]; 0 where nothing is shared.

    `yes_no_rule` is HotpotQA's: where either side is yes, no or noanswer, anything but equality scores 0. SQuAD and
    MR-Search do without it.
    """
    return max(_f1_of(*_forms(prediction, gold), yes_no_rule) for gold in _golds(golds))


def sub_em(prediction: str, golds: Sequence[str]) -> float:
    """1.0 where the prediction contains one of the gold answers in normal form, else 0.0."""
    return float(any(_contained(prediction, gold) for gold in _golds(golds)))


def holds_answer(text: str, golds: Sequence[str]) -> bool:
    """Whether a passage holds a gold answer: its words stand in the text, in order and without gap.

    Words are runs of letters and digits in lower case, so that "art" is not in "the party began" and "York City" is in
    "New York-City" (as DPR, arXiv 2004.04906, counts hits). Articles are no words on either side, as in `normalize`:
    "an album by Beatles members" holds "The Beatles". A gold answer of articles alone keeps them; one without any word
    is never held.
    """
    words = _WORD.findall(text.lower())
    full, bare = _joined(words), _joined(_without_articles(words))
    for gold in _golds(golds):
        words = _WORD.findall(gold.lower())
        without = _without_articles(words)
        if words and (_joined(without) in bare if without else _joined(words) in full):
            return True
    return False


def hit_holds_answer(hit: Hit, golds: tuple[str, ...]) -> bool:
    """Whether a passage, title included, holds a gold answer."""
    return _text_holds(f"{hit.passage.title}\n{hit.passage.text}", golds)


def score(answer: str | None, golds: Sequence[str], kind: Score = "em", yes_no_rule: bool = False) -> float:
    """The score of one episode's answer in [0, 1]; no answer scores 0."""
    if answer is None:
        return 0.0
    if kind == "f1":
        return f1(answer, golds, yes_no_rule)
    return {"em": em, "sub_em": sub_em}[kind](answer, golds)


def episode_scores(meta: MetaEpisode, kind: Score = "em") -> list[float]:
    """The score of the answer of each episode that exists."""
    return [score(episode.answer, meta.question.golden_answers, kind) for episode in meta.episodes]


def extract_answer(transcript: str) -> str | None:
    """The last `<answer>` block of a whole transcript, as MR-Search reads it; None where there is none.

    For transcripts that come as text. A recorded episode has its answer already, read from what the policy generated
    and from nothing else.
    """
    for phrase in _PROMPT_PHRASES:
        transcript = transcript.replace(phrase, "")
    answers: list[str] = _ANSWER.findall(transcript)
    return answers[-1].strip() if answers else None


@lru_cache(maxsize=65_536)
def _text_holds(text: str, golds: tuple[str, ...]) -> bool:
    """The same passage is met under several methods, and by many searches."""
    return holds_answer(text, golds)


def _f1_of(predicted: str, gold: str, yes_no_rule: bool) -> float:
    if yes_no_rule and predicted != gold and not {predicted, gold}.isdisjoint(("yes", "no", "noanswer")):
        return 0.0
    predicted_words, gold_words = predicted.split(), gold.split()
    shared = sum((Counter(predicted_words) & Counter(gold_words)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(predicted_words), shared / len(gold_words)
    return 2 * precision * recall / (precision + recall)


def _forms(prediction: str, gold: str) -> tuple[str, str]:
    """Both in normal form or, where that leaves nothing of the gold answer ("A", "The The", "?"), in lower case with
    single spaces alone."""
    normal = normalize(gold)
    return (normalize(prediction), normal) if normal else (_bare(prediction), _bare(gold))


def _bare(text: str) -> str:
    return " ".join(text.lower().split())


def _contained(prediction: str, gold: str) -> bool:
    """An empty gold answer is nowhere, and one without a normal form counts only as whole words: the letter of "A"
    stands almost everywhere."""
    if not gold.strip():
        return False
    predicted, gold_form = _forms(prediction, gold)
    return gold_form in predicted if normalize(gold) else _joined([gold_form]) in _joined([predicted])


def _without_articles(words: Sequence[str]) -> list[str]:
    return [word for word in words if not _ARTICLES.fullmatch(word)]


def _joined(words: Sequence[str]) -> str:
    """Between spaces, so that only whole words are found."""
    return f" {' '.join(words)} "


def _golds(golds: Sequence[str]) -> list[str]:
    answers = [golds] if isinstance(golds, str) else list(golds)
    if not answers:
        raise ValueError("a question without gold answers cannot be scored: drop it from the data")
    return answers
