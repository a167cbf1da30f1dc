"""How an answer is scored against the gold answers."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from mrsearch.agent.records import MetaEpisode

Score = Literal["em", "f1", "sub_em"]

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
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

    Here and below one gold answer may come as a plain string; no gold answer at all is a ValueError.
    """
    predicted = normalize(prediction)
    return float(any(predicted == normalize(gold) for gold in _some(golds)))


def f1(prediction: str, golds: Sequence[str], yes_no_rule: bool = False) -> float:
    """The best harmonic mean of word precision and recall over the gold answers, in [0, 1]; 0 where nothing is shared.

    `yes_no_rule` is HotpotQA's: where either side is yes, no or noanswer, anything but equality scores 0. SQuAD and
    MR-Search do without it.
    """
    predicted = normalize(prediction)
    return max(_f1_of(predicted, normalize(gold), yes_no_rule) for gold in _some(golds))


def sub_em(prediction: str, golds: Sequence[str]) -> float:
    """1.0 where the prediction contains one of the gold answers in normal form, else 0.0."""
    predicted = normalize(prediction)
    return float(any(normalize(gold) in predicted for gold in _some(golds)))


def score(answer: str | None, golds: Sequence[str], kind: Score = "em", yes_no_rule: bool = False) -> float:
    """The score of one episode's answer in [0, 1]; no answer scores 0."""
    if answer is None:
        return 0.0
    if kind == "f1":
        return f1(answer, golds, yes_no_rule)
    return {"em": em, "sub_em": sub_em}[kind](answer, golds)


def rewards(meta: MetaEpisode, kind: Score = "em") -> list[float]:
    """The reward of each episode that exists: the score of its answer."""
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


def _f1_of(predicted: str, gold: str, yes_no_rule: bool) -> float:
    if yes_no_rule and predicted != gold and not {predicted, gold}.isdisjoint(("yes", "no", "noanswer")):
        return 0.0
    predicted_words, gold_words = predicted.split(), gold.split()
    shared = sum((Counter(predicted_words) & Counter(gold_words)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(predicted_words), shared / len(gold_words)
    return 2 * precision * recall / (precision + recall)


def _some(golds: Sequence[str]) -> list[str]:
    found = [golds] if isinstance(golds, str) else list(golds)
    if not found:
        raise ValueError("a question without gold answers cannot be scored: drop it from the data")
    return found
