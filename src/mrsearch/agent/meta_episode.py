"""The rollout: the one place where an agent lives, in training as in evaluation."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mrsearch.agent.agent import Agent, Request
from mrsearch.agent.ports import DeadlineError, SearchEngine, SearchError
from mrsearch.agent.records import ActionKind, MetaEpisode, Question, StopReason, Turn
from mrsearch.agent.scoring import normalize
from mrsearch.agent.spec import AgentSpec
from mrsearch.agent.transcript import Transcript
from mrsearch.agent.turns import turn_numbers

if TYPE_CHECKING:
    from mrsearch.config.protocol import Protocol

__all__ = ["AgentSpec", "TrainingSequence", "meta_episode", "training_sequences"]

Reader = Callable[[Transcript, Turn, int | None], Awaitable[tuple[str, list[int]] | None]]
"""Makes the observation of a turn's hits, as text and tokens, with the searches that are left; None where there is no
room for that."""


@dataclass(frozen=True, slots=True)
class TrainingSequence:
    """Tokens under the context they were sampled in; five lists of equal lengths T."""

    token_ids: list[int]
    loss_mask: list[int]
    """1 on the tokens this sequence trains, 0 on all others."""
    episode_ids: list[int]
    """Episode of each token in its meta-episode."""
    logprobs: list[float]
    """Sampled log-probabilities; 0.0 where loss_mask is 0."""
    turn_ids: list[int]
    """Turn of each trained token, counted through the meta-episode; -1 where loss_mask is 0."""


async def meta_episode(question: Question, agent: Agent, request: Request, read: Reader | None = None) -> MetaEpisode:
    """One rollout: the spec's `episodes` of at most `max_turns` turns each, joined by reflection prompts.

    It ends early, with no later episode, where the context is full (`context_limit`; the prompt is never cut, and an
    observation that does not fit is clipped exactly at the limit) and where the engine fails for good (`search_failed`,
    counted in `search_failures`). `read` makes the observation of a search; None shows the passages themselves.
    ValueError where there is no engine.
    """
    spec, engine = agent.spec, agent.searcher
    prompt = agent.renderer.first_prompt(spec.procedure, question.question, searches=spec.searches_left(0))
    transcript = Transcript(question, prompt, agent, request)

    async def play() -> StopReason:
        spent = uncounted = 0
        while spent < spec.max_turns and uncounted <= spec.max_turns:
            turn = await transcript.generate()
            counts = spec.protocol.turns_are == "generations" or turn.action is ActionKind.search
            spent, uncounted = spent + counts, uncounted + (not counts)
            ended = await _respond(transcript, turn, engine, spec.searches_left(spent), read)
            over = spent == spec.max_turns and not spec.protocol.final_generation
            if ended is None and transcript.room == 0 and not over:
                ended = StopReason.context_limit
            if ended is not None:
                return ended
        return await _conclude(transcript) if spec.protocol.final_generation else StopReason.turn_limit

    return await run_episodes(transcript, play)


async def run_episodes(transcript: Transcript, play: Callable[[], Awaitable[StopReason]]) -> MetaEpisode:
    """The spec's number of episodes, each begun here and played by `play`, or fewer where they end early.

    A full context ends the meta-episode unless its episodes are independent. Where the last `stop_after_agreeing`
    answers are equal in normal form, no further episode begins and the stop reason is `agreed`; where the confidence in
    the last answer reaches `stop_when_confident`, it is `confident`.
    """
    spec, episodes, stop = transcript.agent.spec, transcript.meta.episodes, StopReason.context_limit
    for number in range(spec.episodes):
        if obstacle := await _begin(transcript, number):
            return transcript.close(obstacle)
        try:
            stop = episodes[-1].stop = await play()
        except DeadlineError:
            stop = episodes[-1].stop = StopReason.deadline
            break
        full = stop is StopReason.context_limit and spec.context != "independent"
        if full or stop is StopReason.search_failed:
            break
        if len(episodes) < spec.episodes and (enough := _enough(transcript)):
            return transcript.close(enough)
    return transcript.close(stop)


async def _begin(transcript: Transcript, number: int) -> StopReason | None:
    """Open episode `number`, with a summary of the one before where only that goes on; returns why it cannot begin, or
    None."""
    try:
        ready = not number or transcript.agent.spec.context != "summary" or await transcript.summarize()
    except DeadlineError:
        return StopReason.deadline
    return None if ready and transcript.begin_episode() else StopReason.context_limit


def _enough(transcript: Transcript) -> StopReason | None:
    """Why no further episode is needed, or None."""
    spec, episodes = transcript.agent.spec, transcript.meta.episodes
    if agreed([episode.answer for episode in episodes], spec.stop_after_agreeing):
        return StopReason.agreed
    if spec.stop_when_confident is not None and answer_confidence(transcript) >= spec.stop_when_confident:
        return StopReason.confident
    return None


def answer_confidence(transcript: Transcript) -> float:
    """Geometric mean of the probabilities of the last answer's tokens, tags left out; 0.0 without an answer.

    Probabilities are those the tokens were sampled with (greedy: of temperature 1).
    """
    meta, renderer = transcript.meta, transcript.renderer
    if not meta.episodes or meta.episodes[-1].answer is None:
        return 0.0
    turn = meta.episodes[-1].turns[-1]
    token_ids = meta.token_ids[turn.start : turn.end]
    tags = renderer.protocol.tags.answer
    opened = turn.text.index(tags.open) + len(tags.open)
    closed = turn.text.index(tags.close, opened)
    first, last = renderer.count_until(token_ids, opened), renderer.count_until(token_ids, closed)
    # A vocabulary may hold tag and answer in one token: then the whole generation counts.
    logprobs = meta.logprobs[turn.start + first : turn.start + last] or meta.logprobs[turn.start : turn.end]
    return math.exp(sum(logprobs) / len(logprobs))


def agreed(answers: Sequence[str | None], count: int | None) -> bool:
    """Whether there are `count` last answers, all of them given and equal in normal form; False for count None."""
    last = [] if count is None else answers[-count:]
    return (
        bool(last) and len(last) == count and None not in last and len({normalize(str(answer)) for answer in last}) == 1
    )


async def _conclude(transcript: Transcript) -> StopReason:
    """One generation more, whose search is not carried out; returns why the episode ends."""
    turn = await transcript.generate()
    if turn.action is not ActionKind.answer:
        return StopReason.turn_limit
    transcript.meta.episodes[-1].answer = turn.content
    return StopReason.answered


async def _respond(
    transcript: Transcript, turn: Turn, engine: SearchEngine, searches: int | None, read: Reader | None
) -> StopReason | None:
    """Carry out a turn's action, after which so many searches are left; returns why the episode ends, or None where it
    goes on."""
    renderer = transcript.renderer
    if turn.action is ActionKind.answer:
        transcript.meta.episodes[-1].answer = turn.content
        return StopReason.answered
    if transcript.room == 0:
        return StopReason.context_limit
    if turn.action is ActionKind.invalid and not renderer.protocol.prompts.invalid_action:
        return StopReason.turn_limit
    observation: tuple[str, list[int]] | None = renderer.invalid_action(transcript.last_token, searches)
    if turn.action is ActionKind.search:
        if not await find(transcript, turn, engine, transcript.agent.spec.topk):
            return StopReason.search_failed
        observation = await read(transcript, turn, searches) if read else renderer.observation(turn.hits, searches)
    if observation is None:
        return StopReason.context_limit
    return None if transcript.observe(*observation) else StopReason.context_limit


async def find(transcript: Transcript, turn: Turn, engine: SearchEngine, topk: int) -> bool:
    """Search with a turn's content and keep the hits in it; False, and a failure more, where the engine gave up."""
    transcript.show()
    try:
        turn.hits = await engine.search(turn.content, topk)
    except SearchError:
        transcript.meta.search_failures += 1
        return False
    transcript.show()
    return True


def training_sequences(meta: MetaEpisode, protocol: Protocol) -> list[TrainingSequence]:
    """What a meta-episode trains, each sampled token at most once, under exactly the context it was sampled in.

    One sequence for context `full` without a blanked episode; else one per episode, whose loss_mask is 1 on that
    episode's own tokens alone. Under a rolling context a sequence ends with the last turn that saw all of it. None
    where no episode exists.
    """
    if not meta.episodes:
        return []
    if meta.context == "full" and meta.blanked_episode is None:
        turns = [turn for episode in meta.episodes for turn in episode.turns]
        sequence = TrainingSequence(meta.token_ids, meta.loss_mask, meta.episode_ids, meta.logprobs, turn_numbers(meta))
        sequences = [_seen_whole(sequence, turns, 0, protocol)]
    else:
        ends, sequences = [*meta.episode_starts[1:], len(meta.token_ids)], []
        for number, (episode, end) in enumerate(zip(meta.episodes, ends, strict=True)):
            sequence = _sequence(meta, number, end)
            sequences.append(_seen_whole(sequence, episode.turns, end - len(sequence.token_ids), protocol))
    return [sequence for sequence in sequences if sequence.token_ids]


def _seen_whole(sequence: TrainingSequence, turns: Sequence[Turn], offset: int, protocol: Protocol) -> TrainingSequence:
    """The sequence up to the last turn whose context was all of it. offset: position in the record of its first token,
    were all of them side by side."""
    if protocol.context_overflow == "end":
        return sequence
    window = protocol.max_context_tokens
    length = max((turn.end - offset for turn in turns if turn.start - offset <= window), default=0)
    return TrainingSequence(
        token_ids=sequence.token_ids[:length],
        loss_mask=sequence.loss_mask[:length],
        episode_ids=sequence.episode_ids[:length],
        logprobs=sequence.logprobs[:length],
        turn_ids=sequence.turn_ids[:length],
    )


def _sequence(meta: MetaEpisode, episode: int, end: int) -> TrainingSequence:
    start = meta.episode_starts[episode]
    seen = [position for first, last in meta.visible(episode) for position in range(first, last)]
    context, generated = len(seen), range(start, end)
    positions = [*seen, *generated]
    return TrainingSequence(
        token_ids=[meta.token_ids[position] for position in positions],
        loss_mask=[0] * context + [meta.loss_mask[position] for position in generated],
        episode_ids=[meta.episode_ids[position] for position in positions],
        logprobs=[0.0] * context + [meta.logprobs[position] for position in generated],
        turn_ids=[-1] * context + turn_numbers(meta)[start:end],
    )
