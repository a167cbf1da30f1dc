"""A study's agent, ready to answer: weights, generator and retriever are open as long as it is."""

from __future__ import annotations

import contextlib
import functools
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mrsearch.agent.agent import Agent, Request, Watcher
from mrsearch.agent.batch import run_batch
from mrsearch.agent.procedures import run_procedure
from mrsearch.agent.records import MetaEpisode, Question
from mrsearch.agent.renderer import Renderer
from mrsearch.agent.spec import AgentSpec
from mrsearch.config.layout import Layout
from mrsearch.config.protocol import Protocol
from mrsearch.config.study import Study
from mrsearch.interactive.as_data import as_data, final_answer
from mrsearch.interactive.choice import AgentChoice, require_files
from mrsearch.interactive.evaluated import EvaluatedQuestions, evaluate_questions
from mrsearch.interactive.event_loop import EventLoopThread
from mrsearch.interactive.retriever import ServerEnvironments, running_retriever
from mrsearch.visible import is_blank


@dataclass(frozen=True, slots=True)
class AgentAnswer:
    """What an agent answered, and how it came to it."""

    text: str | None
    """The answer that counts; None where the agent gave none."""
    record: MetaEpisode
    """The whole meta-episode."""
    seconds: float
    """From the question to the end of the meta-episode."""
    protocol: Protocol
    """The tags and prompts of the meta-episode."""

    def as_data(self) -> dict[str, Any]:
        """Everything that happened as plain data: episodes, turns, reasoning, searches, passages, costs."""
        return as_data(self.record, self.protocol, self.seconds)

    def __str__(self) -> str:
        return self.text if self.text is not None else "no answer"


class OpenAgent:
    """Answers questions until it is closed; `with` closes it. One thread may use it at a time."""

    def __init__(
        self,
        study: Study,
        layout: Layout,
        choice: AgentChoice,
        environments: ServerEnvironments = ServerEnvironments(),
    ) -> None:
        """Open weights, generator and retriever; servers that are not there are started.

        ValueError where files are missing or do not fit together, or where a server does not start.
        """
        require_files(study, layout, choice)
        self.study, self.choice = study.of(choice.method), choice
        self._count = 0
        with contextlib.ExitStack() as stack:
            endpoint = stack.enter_context(running_retriever(self.study, layout, choice.method, environments))
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mrsearch-")))
            self._loop = stack.enter_context(EventLoopThread())
            self._agent = self._open(stack, layout, endpoint)
            self._stack = stack.pop_all()

    def answer(self, question: str | Question, watch: Watcher | None = None) -> AgentAnswer:
        """Answer one question. `watch` sees the meta-episode while it grows, in another thread than the caller's.

        The n-th question of an agent has the n-th random numbers of its seed. ValueError for a question without text.
        """
        self._count += 1
        posed = question if isinstance(question, Question) else Question(f"question-{self._count}", question, ())
        _require_text(posed.question)
        request = self._request(f"ask/{self._count}/{posed.id}")
        job = functools.partial(run_procedure, posed, replace(self._agent, watch=watch), request)
        started = time.monotonic()
        (record,) = self._loop.run(run_batch([(request.id, job)], self._agent.policy, 1))
        seconds = time.monotonic() - started
        record.tags |= self.choice.tags(self.study)
        return AgentAnswer(final_answer(record, self.study.protocol), record, seconds, self.study.protocol)

    def evaluate(self, questions: Sequence[Question] | str | Path) -> EvaluatedQuestions:
        """Answer questions with gold answers and score them as an evaluation of the study does.

        questions: in memory, or a parquet or jsonl file. A benchmark's questions get the records that the study's own
        evaluation has. ValueError as of `read_questions` and `evaluation.limits.check`.
        """
        run: Callable[..., Any] = self._loop.run
        return evaluate_questions(self.study, self.choice, self._agent, questions, self._folder, run)

    def close(self) -> None:
        """End whatever was started for this agent; a second call does nothing."""
        self._stack.close()

    def __enter__(self) -> OpenAgent:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, stack: contextlib.ExitStack, layout: Layout, endpoint: Path | None) -> Agent:
        import torch

        from mrsearch.policy.serving import open_policy
        from mrsearch.retrieval.engine import engine_of

        study, choice = self.study, self.choice
        torch.set_num_threads(study.resources.evaluate.threads)
        engine = engine_of(study, choice.method, layout.corpus, layout.indexes, endpoint)
        if engine is not None:
            stack.callback(lambda: self._loop.run(engine.aclose()))
        policy = stack.enter_context(
            open_policy(
                study.evaluation.generator,
                layout.policy(choice.model, choice.method, choice.seed),
                study.protocol.longest_sequence,
                self._folder / "server.log",
                closing=study.protocol.tags.closing,
                template=study.protocol.chat_template,
            )
        )
        stack.callback(lambda: self._loop.run(policy.aclose()))
        return Agent(policy, engine, AgentSpec.of(study, choice.method), Renderer(policy.tokenizer, study.protocol))

    def _request(self, request_id: str) -> Request:
        decoding = self.study.evaluation.decoding[self.choice.decoding]
        return Request(request_id, self.choice.seed, decoding.temperature, decoding.top_p)


def _require_text(question: str) -> None:
    if is_blank(question):
        raise ValueError(f"the question {question!r} has no text")
    try:
        question.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the question {question!r} is no text in UTF-8") from error
