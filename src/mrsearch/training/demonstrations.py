"""What fine-tuning imitates: golden answers, or the starting policy's own meta-episodes that ended right."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mrsearch.agent.agent import Agent, Request
from mrsearch.agent.baselines import run_procedure
from mrsearch.agent.batch import Job, Unasked
from mrsearch.agent.dialogue import Dialogue
from mrsearch.agent.meta_episode import training_sequences
from mrsearch.agent.ports import Generation, Sampling, SearchEngine
from mrsearch.agent.questions import read_questions
from mrsearch.agent.records import MetaEpisode, Question, read_records
from mrsearch.agent.scoring import rewards
from mrsearch.agent.spec import AgentSpec
from mrsearch.agent.tally import Tally
from mrsearch.agent.waves import drop_waves, make_waves
from mrsearch.config import Study, digest, stages
from mrsearch.files import read_json, write_json
from mrsearch.policy.serving import open_policy
from mrsearch.policy.tokenizer import load_tokenizer
from mrsearch.runlog import hash_path
from mrsearch.training.inputs import DEMONSTRATIONS, Inputs
from mrsearch.training.supervised import Trace
from mrsearch.training.trace_file import write_traces

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Demonstrations:
    """Makes the traces of one training; called again after an interruption, it goes on where that stopped."""

    study: Study
    model: str
    method: str
    seed: int
    inputs: Inputs
    engine: SearchEngine | None
    """None for procedures that do not search."""
    folder: Path
    """The run's own folder."""

    def make(self) -> Path:
        """The parquet file of the traces, made from whole waves of meta-episodes that were kept in the folder.

        ValueError where none ended right, or where more searches failed or more questions ran out of time than the
        study allows.
        """
        began = time.monotonic()
        traces, counts = self.folder / "traces.parquet", self.folder / DEMONSTRATIONS
        made_from = self._made_from()
        if traces.is_file() and (read_json(counts) or {}).get("made_from") == made_from:
            return traces
        kept = self.folder / f"demonstrations-{made_from}.waves"
        for other in self.folder.glob("demonstrations-*.waves"):
            if other != kept:
                drop_waves(other)
        waves = asyncio.run(self._waves(kept))
        tally, right = self._judged(waves, kept)
        count = write_traces(traces, _sequences(waves, self.study))
        log.info("%s: %d of %d meta-episodes ended right: %d traces", self.method, right, tally.records, count)
        seconds = time.monotonic() - began
        found = {"made_from": made_from, "right": right, "traces": count, **asdict(tally), "seconds": seconds}
        write_json(counts, found)
        drop_waves(kept)
        return traces

    async def _waves(self, kept: Path) -> list[Path]:
        questions, study = chosen_questions(self.study, self.seed, self.inputs.questions), self.study
        together, spec = study.evaluation.concurrency * self._copies, AgentSpec.of(study, self.method)
        if self._train.demonstrations == "answers":
            dialogue = Dialogue(load_tokenizer(self.inputs.start), study.protocol)
            answering = [Agent(Answer(question, dialogue), self.engine, spec, dialogue) for question in questions]
            told = [self._job(agent, question, 0) for agent, question in zip(answering, questions, strict=True)]
            return await make_waves(told, Unasked(), together, kept)
        longest, server_log = study.protocol.context_tokens, self.folder / "generator.log"
        with open_policy(study.evaluation.engine, self.inputs.start, longest, server_log, self._copies) as policy:
            agent = Agent(policy, self.engine, spec, Dialogue(policy.tokenizer, study.protocol))
            samples = range(study.fine_tuning.samples)
            jobs = [self._job(agent, question, sample) for question in questions for sample in samples]
            try:
                return await make_waves(jobs, policy, together, kept)
            finally:
                await policy.aclose()

    def _job(self, agent: Agent, question: Question, sample: int) -> Job[MetaEpisode]:
        settings = self.study.fine_tuning
        request = Request(f"{question.id}/{sample:03d}", self.seed, settings.temperature, settings.top_p)
        return request.id, functools.partial(run_procedure, question, agent, request)

    def _judged(self, waves: Sequence[Path], kept: Path) -> tuple[Tally, int]:
        """What all waves hold, and how many meta-episodes ended right; waves that cannot be used are forgotten."""
        tally, right = Tally(), 0
        try:
            for record in _records(waves):
                tally.add(record)
                right += ended_right(record, self.study)
            tally.check(self.study, f"demonstrations of {self.method}")
            if not right:
                raise ValueError(self._nothing_right(tally.records))
        except BaseException:
            drop_waves(kept)
            raise
        return tally, right

    def _nothing_right(self, count: int) -> str:
        if self._train.demonstrations == "answers":
            return (
                f"methods.{self.method}: none of {count} golden answers fits into a reply: raise protocol.turn_tokens "
                f"({self.study.protocol.turn_tokens}) or protocol.context_tokens"
            )
        return (
            f"methods.{self.method}: none of the {count} meta-episodes that the starting policy sampled ended right, so"
            " there is nothing to imitate: raise fine_tuning.questions or fine_tuning.samples, or set train.start to a "
            "policy that answers"
        )

    def _made_from(self) -> str:
        """Digest of everything that decides the traces."""
        index = [hash_path(path) for path in sorted(self.inputs.indexes.rglob("index.json"))]
        files = [hash_path(self.inputs.start), hash_path(self.inputs.questions), *index]
        # Waves of another size hold other meta-episodes.
        return digest(stages.train(self.study, self.model, self.method), self.seed, self._copies, files)

    @property
    def _copies(self) -> int:
        """Copies of the model that a server holds on the job's GPUs while it samples."""
        engine = self.study.evaluation.engine
        if self._train.demonstrations != "own" or engine.kind == "torch":
            return 1
        return max(1, self.study.resources.fine_tuning.gpus // engine.tensor_parallel)

    @property
    def _train(self) -> Any:
        return self.study.methods[self.method].train


class Answer:
    """A Policy that replies with the question's first golden answer in the protocol's tags."""

    def __init__(self, question: Question, dialogue: Dialogue) -> None:
        self._token_ids = dialogue.answer(question.golden_answers[0])

    async def generate(self, context: Sequence[int], sampling: Sampling, request_id: str) -> Generation:
        """The reply."""
        return Generation.told(self._token_ids, sampling)


def chosen_questions(study: Study, seed: int, path: Path) -> list[Question]:
    """The training questions that traces are made of, in file order; ValueError where the file has too few."""
    questions, count = read_questions(path), study.fine_tuning.questions
    if count is None:
        return questions
    if count > len(questions):
        raise ValueError(
            f"fine_tuning.questions ({count}) is larger than the training set ({len(questions)} questions)"
        )
    drawn = sorted(random.Random(f"{seed}/demonstrations").sample(range(len(questions)), count))
    return [questions[index] for index in drawn]


def ended_right(record: MetaEpisode, study: Study) -> bool:
    """Whether the last episode that took place earned the whole reward."""
    return rewards(record, study.protocol.scoring)[-1:] == [1.0]


def _records(waves: Sequence[Path]) -> Iterator[MetaEpisode]:
    for wave in waves:
        yield from read_records(wave)


def _sequences(waves: Sequence[Path], study: Study) -> Iterator[Trace]:
    for record in _records(waves):
        if ended_right(record, study):
            for part in training_sequences(record):
                yield Trace(part.token_ids, part.loss_mask)
