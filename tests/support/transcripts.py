"""Hand-made transcripts, healthy and degenerate, of the question whose gold answer is Ada."""

from __future__ import annotations

from mrsearch.agent.ports import Hit, Passage
from mrsearch.agent.records import ActionKind, Episode, MetaEpisode, Question, StopReason, Turn

TurnWords = tuple[str, str, str, list[str]]
"""Text of a generation, its action and content, and the passages that came back."""
GOLD, OTHER = "It was written by Ada in May", "It was printed in Oslo"

HEALTHY: dict[str, list[TurnWords]] = {
    "one search": [
        ("<think> who wrote it then </think> <search> writer </search>", "search", "writer", [GOLD]),
        ("<think> the passage says Ada </think> <answer> Ada </answer>", "answer", "Ada", []),
    ],
    "two hops": [
        ("<think> who did it </think> <search> a </search>", "search", "a", [OTHER]),
        ("<think> Oslo, now who was it </think> <search> b </search>", "search", "b", [GOLD]),
        ("<think> that is Ada </think> <answer> Ada </answer>", "answer", "Ada", []),
    ],
    "yes and no": [
        ("<think> were both printed </think> <search> a </search>", "search", "a", [OTHER]),
        ("<think> so they were </think> <answer> Yes </answer>", "answer", "Yes", []),
    ],
}
DEGENERATE: dict[str, list[TurnWords]] = {
    "unclosed": [
        ("<think> I search <search> a </search>", "search", "a", [GOLD]),
        ("<think> well </think> <answer> Ada </answer>", "answer", "Ada", []),
    ],
    "empty": [
        ("<think> </think> <search> a </search>", "search", "a", [GOLD]),
        ("<think></think> <answer> Ada </answer>", "answer", "Ada", []),
    ],
    "loop": [
        (f"<think> {' '.join(['I must search for it'] * 3)} </think> <search> a </search>", "search", "a", [GOLD]),
        ("<think> y </think>", "answer", "Ada", []),
    ],
    "same query": [
        ("<think> x </think> <search> the tower </search>", "search", "the tower", [OTHER]),
        ("<think> x </think> <search> tower! </search>", "search", "tower!", [OTHER]),
        ("<think> x </think> <search> Tower </search>", "search", "Tower", [OTHER]),
        ("<think> x </think> <answer> Oslo </answer>", "answer", "Oslo", []),
    ],
    "searches on": [
        ("<think> x </think> <search> a </search>", "search", "a", [GOLD]),
        ("<think> x </think> <search> b </search>", "search", "b", [OTHER]),
        ("<think> x </think> <search> c </search>", "search", "c", [OTHER]),
        ("<think> x </think> <answer> Ada </answer>", "answer", "Ada", []),
    ],
    "made up": [
        ("<think> x </think> <search> a </search>", "search", "a", [OTHER]),
        ("<think> wee </think> <answer> Eve </answer>", "answer", "Eve", []),
    ],
    "other script": [
        ("<think> 谁写的 </think> <search> ä </search>", "search", "ä", [GOLD]),
        ("<think> είναι </think>", "answer", "Ada", []),
    ],
}


def transcript(turns: list[TurnWords]) -> MetaEpisode:
    """One episode after a prompt of two tokens; a token is a word between white space, and observations have one."""
    vocabulary: dict[str, int] = {}
    token_ids, mask, made, answer = [0, 0], [0, 0], [], None
    for text, action, content, passages in turns:
        ids = [vocabulary.setdefault(word, len(vocabulary) + 1) for word in text.split()]
        hits = [Hit(Passage(passage, "", passage), 1.0) for passage in passages]
        start = len(token_ids)
        made.append(Turn(start, start + len(ids), text, ActionKind(action), content, " ".join(passages), hits))
        token_ids += [*ids, 0]
        mask += [1] * len(ids) + [0]
        answer = content if action == "answer" else answer
    size = len(token_ids)
    episodes = [Episode(made, answer, StopReason.answered)]
    question = Question("q", "who wrote it?", ("Ada",))
    return MetaEpisode(question, token_ids, mask, [0] * size, [0.0] * size, 2, episodes, StopReason.answered)
