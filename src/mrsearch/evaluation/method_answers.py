"""One method's answers to every benchmark's questions: meta-episodes run, checked, scored and written."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mrsearch.agent.agent import Agent, Request
from mrsearch.agent.answers import answers, drop_answers
from mrsearch.agent.pieces import vocabulary_pieces
from mrsearch.agent.procedures import run_procedure
from mrsearch.agent.reasoning import ReasoningCounts, reasoning_shares
from mrsearch.agent.record_files import write_sealed_records
from mrsearch.agent.records import MetaEpisode, Question
from mrsearch.agent.renderer import Renderer
from mrsearch.agent.scoring import score
from mrsearch.agent.spec import AgentSpec
from mrsearch.config import Study
from mrsearch.config.layout import cost_file, score_file
from mrsearch.config.protocol import Decoding
from mrsearch.data.subsets import hashed_id
from mrsearch.evaluation.limits import check
from mrsearch.evaluation.score_files import write_scores
from mrsearch.evaluation.scores import score_record
from mrsearch.files import write_json
from mrsearch.progress import Meter
from mrsearch.seal import seal_file

if TYPE_CHECKING:
    from mrsearch.policy.http_policy import HttpPolicy
    from mrsearch.policy.torch_policy import TorchPolicy
    from mrsearch.retrieval.engine import OpenEngine

log = logging.getLogger(__name__)


class MethodAnswers:
    """The answers of one method, by one policy and one engine, and the files that they become."""

    def __init__(
        self,
        study: Study,
        model: str,
        method: str,
        seed: int,
        policy: TorchPolicy | HttpPolicy,
        engine: OpenEngine | None,
        swappable: Mapping[str, Sequence[str]],
    ) -> None:
        self.study, self.policy, self.engine, self.seed = study, policy, engine, seed
        self.model, self.method = model, method
        self.pieces = vocabulary_pieces(policy.tokenizer)
        self.tags = {"study": study.name, "model": model, "method": method, "seed": seed}
        renderer = Renderer(policy.tokenizer, study.protocol)
        self.agent = Agent(policy, engine, AgentSpec.of(study, method), renderer, swappable=swappable)

    async def run_all(
        self, todo: Mapping[tuple[str, str], Path], questions_of: Mapping[str, Sequence[Question]]
    ) -> None:
        """Make every (benchmark, decoding) file of `todo`, one after the other, and close the engine."""
        try:
            for (benchmark, decoding), path in todo.items():
                await self._run(benchmark, decoding, questions_of[benchmark], path)
        finally:
            if self.engine is not None:
                await self.engine.aclose()
            await self.policy.aclose()

    async def _run(self, benchmark: str, decoding: str, questions: Sequence[Question], path: Path) -> None:
        """Answer the questions and write their records, and beside them what the answers cost."""
        started = time.monotonic()
        folder = path.with_name(f"{benchmark}.{decoding}.kept")
        settings = self.study.evaluation.decoding[decoding]
        records = await self._answer(benchmark, settings, decoding, questions, folder)
        for record in records:
            keys = {"decoding": decoding, "benchmark": benchmark}
            record.tags = {**record.tags, **self.tags, **keys, "scores": score_record(record)}
        try:
            counts = check(self.study, records, questions, f"{benchmark}, {decoding}")
        finally:
            drop_answers(folder)
        seconds = time.monotonic() - started
        path.parent.mkdir(parents=True, exist_ok=True)
        reasoning = (ReasoningCounts.of(record, self.study.protocol.tags) for record in records)
        shares = reasoning_shares(reasoning, self.study.methods[self.method].searches)
        costs = {"questions": len(records), "seconds": seconds, **counts, "reasoning": shares}
        write_json(cost_file(path), costs)
        scores = score_file(path.parent, benchmark, decoding)
        key = (self.model, self.method, self.seed, decoding, benchmark)
        seal_file(scores, scores, write_scores(self.study, key, records, scores))
        # The order in which parts of the questions are chosen: who reads a part reads the file's beginning.
        in_parts = sorted(records, key=lambda record: hashed_id(record.question.id))
        write_sealed_records(path, in_parts, self.pieces)
        log.info("%s, %s: %d questions in %.1f s", benchmark, decoding, len(records), seconds)

    async def _answer(
        self, benchmark: str, decoding: Decoding, name: str, questions: Sequence[Question], folder: Path
    ) -> list[MetaEpisode]:
        settings = self.study.evaluation
        with Meter(f"{self.method}: {benchmark}, {name}", len(questions)) as meter:
            scored = _Scored(meter)
            jobs = []
            for question in questions:
                request = Request(f"{benchmark}/{name}/{question.id}", self.seed, decoding.temperature, decoding.top_p)
                jobs.append((request.id, functools.partial(scored.run, question, self.agent, request)))
            whole_batches = settings.generator.whole_batches
            records = answers(jobs, self.policy, settings.concurrency, folder, meter, whole_batches=whole_batches)
            return list(await records)


class _Scored:
    """Runs meta-episodes and tells a meter how many of those that ran here ended right."""

    def __init__(self, meter: Meter) -> None:
        self.meter, self.right, self.count = meter, 0.0, 0

    async def run(self, question: Question, agent: Agent, request: Request) -> MetaEpisode:
        record = await run_procedure(question, agent, request)
        if record.episodes:
            self.right += score(record.episodes[-1].answer, question.golden_answers, "em")
        self.count += 1
        self.meter.note = f"EM {self.right / self.count:.1%}"
        return record
