"""The growing token record of one meta-episode, and the context that its policy sees."""

from __future__ import annotations

import hashlib

from mrsearch.agent.agent import Agent, Request
from mrsearch.agent.ports import Generation, Sampling
from mrsearch.agent.protocol import read_action
from mrsearch.agent.records import ActionKind, Episode, MetaEpisode, Question, StopReason, Turn


class Transcript:
    """Appends tokens, lets the policy generate, and keeps the four parallel lists of a `MetaEpisode`.

    Token in, token out: what was sampled is stored as it came, and nothing in the context is ever encoded again.
    """

    def __init__(self, question: Question, prompt: list[int], agent: Agent, request: Request) -> None:
        self.agent, self.request, self.renderer = agent, request, agent.renderer
        self.meta = MetaEpisode(
            question=question,
            token_ids=[],
            loss_mask=[],
            episode_ids=[],
            logprobs=[],
            prompt_length=len(prompt),
            episodes=[],
            stop=StopReason.context_limit,
            context=agent.spec.context,
            blanked_episode=agent.spec.blanked_episode,
        )
        self._visible: list[int] = []
        self._turns = 0
        self._add(prompt, episode=0)

    @property
    def room(self) -> int:
        """Tokens that still fit into the visible context; a rolling one always has room for a turn."""
        protocol = self.renderer.protocol
        if protocol.context_overflow == "rolling":
            return protocol.max_context_tokens
        return max(0, protocol.max_context_tokens - len(self._visible))

    @property
    def last_token(self) -> int | None:
        """The newest token."""
        return self.meta.token_ids[-1] if self.meta.token_ids else None

    def begin_episode(self) -> bool:
        """Open the next episode, with a reflection prompt before every one but the first and independent ones.

        Returns False, and changes nothing, where that would leave no room to generate.
        """
        number = len(self.meta.episodes)
        independent = self.meta.context == "independent"
        reflection = []
        visible = self._inherited(number)
        if number and not independent:
            searches = self.agent.spec.searches_left(0)
            # What ends the assistant's turn depends on what the agent sees of it.
            reflection = self.renderer.reflection(visible[-1], self.meta.question.question, searches)
        start = len(self.meta.token_ids) if number else 0
        protocol = self.renderer.protocol
        full = len(visible) + len(reflection) >= protocol.max_context_tokens
        if full and protocol.context_overflow == "end":
            return False
        self._visible = visible
        self.meta.episode_starts.append(start)
        self._add(reflection, episode=max(0, number - 1))
        self.meta.episodes.append(Episode())
        self.show()
        return True

    def _inherited(self, number: int) -> list[int]:
        """What the context of episode `number` holds before its own part."""
        meta, context = self.meta, self.meta.context
        prompt = meta.token_ids[: meta.prompt_length]
        if number and context == "independent":
            return prompt
        if number and context == "summary":
            summary = meta.episodes[-1].turns[-1]
            return prompt + meta.token_ids[summary.start : summary.end]
        if meta.blanked_episode is not None and number == meta.blanked_episode + 1:
            return meta.token_ids[: meta.seen_until_blank]
        if number > 1 and context == "previous":
            return prompt + meta.token_ids[meta.episode_starts[-1] :]
        return self._visible

    async def summarize(self) -> bool:
        """Let the policy write what of the newest episode goes on, as a turn that is trained like any other.

        Returns False, and changes nothing, where the context leaves no room for that.
        """
        if not self.say(self.renderer.summary(self.last_token)):
            return False
        turn = await self.generate()
        ended = self.last_token in self.renderer.stop_rule.end_of_turn
        text = self.renderer.decode(self.meta.token_ids[turn.start : turn.end - ended])
        turn.action, turn.content = ActionKind.summary, text.strip()
        self.show()
        return True

    def observe(self, text: str, token_ids: list[int]) -> bool:
        """Put an observation or hint into the context and into the newest turn.

        Returns False where it had to be clipped at the context limit; the turn then keeps the text that fitted, no
        character broken.
        """
        fitting = token_ids[: self.renderer.borders.before(token_ids, self.room)]
        fits = len(fitting) == len(token_ids)
        turn = self.meta.episodes[-1].turns[-1]
        turn.observation = text if fits else self.renderer.decode(fitting)
        self._add(fitting, episode=len(self.meta.episodes) - 1)
        self.show()
        return fits

    async def generate(self) -> Turn:
        """One turn of the newest episode, sampled from the policy under the visible context and read for its action."""
        generation = await self._sample(*self._seen())
        start = len(self.meta.token_ids)
        self._add(generation.token_ids, len(self.meta.episodes) - 1, generation.logprobs)
        text = self.renderer.decode(generation.token_ids)
        action, content = read_action(text, self.renderer.protocol.tags)
        turn = Turn(start, len(self.meta.token_ids), text, action, content)
        self.meta.episodes[-1].turns.append(turn)
        return turn

    async def aside(self, context: list[int]) -> str | None:
        """A generation under another context, as text; it is counted in the newest turn and otherwise leaves no trace.

        None where `context` leaves no room to generate.
        """
        room = self.renderer.protocol.max_context_tokens - len(context)
        if room < 1:
            return None
        generation = await self._sample(context, room)
        self.meta.episodes[-1].turns[-1].aside_tokens += len(generation.token_ids)
        return self.renderer.decode(generation.token_ids)

    def shorten(self, count: int) -> None:
        """Keep only the first `count` tokens of the newest generation; nothing may have followed it."""
        turn = self.meta.episodes[-1].turns[-1]
        assert turn.end == len(self.meta.token_ids), "something follows the generation"
        dropped = turn.end - turn.start - count
        assert dropped >= 0, f"{count} tokens kept of {turn.end - turn.start}"
        if not dropped:
            return
        for tokens in (self.meta.token_ids, self.meta.loss_mask, self.meta.episode_ids, self.meta.logprobs):
            del tokens[-dropped:]
        self._visible = self._visible[:-dropped]
        turn.end -= dropped
        turn.aside_tokens += dropped
        turn.text = self.renderer.decode(self.meta.token_ids[turn.start : turn.end])

    def say(self, token_ids: list[int]) -> bool:
        """Put a user message between two turns of an episode; False, and nothing changes, where no room would be left
        to generate."""
        if len(token_ids) >= self.room:
            return False
        self._add(token_ids, episode=len(self.meta.episodes) - 1)
        return True

    def close(self, stop: StopReason) -> MetaEpisode:
        """The finished record."""
        meta = self.meta
        meta.stop = stop
        lengths = {len(meta.token_ids), len(meta.loss_mask), len(meta.episode_ids), len(meta.logprobs)}
        assert len(lengths) == 1, f"parallel lists of different lengths: {sorted(lengths)}"
        assert len(meta.episode_starts) == len(meta.episodes), "an episode without its start"
        self.show()
        return meta

    def show(self) -> None:
        """Let whoever watches see the meta-episode so far. A generation may still be shortened until it is acted on,
        so that none is shown before that."""
        if self.agent.watch is not None:
            self.agent.watch(self.meta)

    def _seen(self) -> tuple[list[int], int]:
        """The context of the next generation, and the room that it leaves."""
        protocol = self.renderer.protocol
        if protocol.context_overflow == "rolling":
            first = max(0, len(self._visible) - protocol.max_context_tokens)
            return self._visible[self.renderer.borders.after(self._visible, first) :], protocol.max_turn_tokens
        return self._visible, self.room

    async def _sample(self, context: list[int], room: int) -> Generation:
        request = self.request
        sampling = Sampling(
            max_tokens=min(self.renderer.protocol.max_turn_tokens, room),
            temperature=request.temperature,
            top_p=request.top_p,
            seed=turn_seed(request.seed, request.id, self._turns),
        )
        self._turns += 1
        generation = await self.agent.policy.generate(list(context), sampling, request.id)
        self._check(generation, sampling.max_tokens)
        return generation

    def _check(self, generation: Generation, max_tokens: int) -> None:
        token_ids, rule = generation.token_ids, self.renderer.stop_rule
        assert len(token_ids) == len(generation.logprobs), (
            f"{len(token_ids)} tokens came with {len(generation.logprobs)} log-probabilities"
        )
        assert 0 < len(token_ids) <= max_tokens, (
            f"{len(token_ids)} tokens generated where 1 to {max_tokens} were asked for"
        )
        early = [
            n for n in range(1, len(token_ids)) if token_ids[n - 1] in rule.candidates and rule.is_end(token_ids[:n])
        ]
        assert not early, f"the generation goes on for {len(token_ids) - early[0]} tokens after its end"

    def _add(self, token_ids: list[int], episode: int, logprobs: list[float] | None = None) -> None:
        count = len(token_ids)
        self.meta.token_ids += token_ids
        self.meta.loss_mask += [0 if logprobs is None else 1] * count
        self.meta.episode_ids += [episode] * count
        self.meta.logprobs += [0.0] * count if logprobs is None else logprobs
        self._visible = self._visible + token_ids


def turn_seed(seed: int, request_id: str, turn: int) -> int:
    """A seed in [0, 2**63) for one generation: the same on every machine, whatever else runs beside it."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{request_id}\0{turn}".encode()).digest()[:8], "big") >> 1
