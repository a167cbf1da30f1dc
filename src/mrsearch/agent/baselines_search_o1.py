"""Search-o1 (arXiv 2501.05366): a searching agent that reads the passages in a generation of its own."""

from __future__ import annotations

from mrsearch.agent.dialogue import Dialogue
from mrsearch.agent.meta_episode import meta_episode
from mrsearch.agent.ports import Policy, SearchEngine
from mrsearch.agent.protocol import read_action
from mrsearch.agent.records import ActionKind, MetaEpisode, Question, Turn
from mrsearch.agent.spec import AgentSpec
from mrsearch.agent.transcript import Transcript


async def search_o1(
    question: Question,
    policy: Policy,
    engine: SearchEngine | None,
    spec: AgentSpec,
    dialogue: Dialogue,
    *,
    temperature: float,
    top_p: float,
    seed: int,
    request_id: str,
) -> MetaEpisode:
    """The rollout of `meta_episode`, with reason-in-documents between a search and its observation.

    The same policy reads the passages in a conversation that holds the reasoning so far, the query and the passages;
    what it writes as its answer there is the observation, and all of what it wrote where it gave no answer. A reading
    for which the context has no room ends the meta-episode with `context_limit`.
    """

    async def read(transcript: Transcript, turn: Turn) -> tuple[str, list[int]] | None:
        reasoning = "\n".join(earlier.text for earlier in transcript.meta.episodes[-1].turns)
        prompt = dialogue.reading_prompt(reasoning, turn.content, turn.hits)
        said = await transcript.aside(policy, prompt, temperature, top_p, seed)
        if said is None:
            return None
        action, content = read_action(said)
        return dialogue.notes(content if action is ActionKind.answer else said.strip())

    return await meta_episode(
        question,
        policy,
        engine,
        spec,
        dialogue,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        request_id=request_id,
        read=read,
    )
