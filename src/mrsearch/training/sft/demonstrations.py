"""What fine-tuning imitates: golden answers, or the starting policy's own meta-episodes that ended right."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mrsearch.agent.agent import Agent, Request
from mrsearch.agent.answers import answers, drop_answers
from mrsearch.agent.batch import Job, NoPolicy
from mrsearch.agent.meta_episode import training_sequences
from mrsearch.agent.ports import Generation, Policy, Sampling, SearchEngine
from mrsearch.agent.procedures import run_procedure
from mrsearch.agent.questions import read_questions
from mrsearch.agent.records import MetaEpisode, Question
from mrsearch.agent.renderer import Renderer
from mrsearch.agent.scoring import episode_scores
from mrsearch.agent.spec import AgentSpec
from mrsearch.agent.tally import MetaEpisodeCounts, Tally
from mrsearch.config import Study, digest, stages
from mrsearch.files import read_json, write_json
from mrsearch.policy.serving import open_policy
from mrsearch.policy.tokenizer import load_tokenizer
from mrsearch.progress import Meter
from mrsearch.runlog import hash_path
from mrsearch.seal import is_sealed, seal_file
from mrsearch.training.run import TrainingRun
from mrsearch.training.sft.demonstration_file import Demonstration, write_demonstrations

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Demonstrations:
    """Makes the demonstrations of one training; called again after an interruption, it goes on where that stopped."""

    run: TrainingRun
    engine: SearchEngine | None
    """None for procedures that do not search."""

    def make(self) -> Path:
        """The parquet file of the demonstrations, made from meta-episodes that were kept in the folder.

        ValueError where none ended right, or where more searches failed or more questions ran out of time than the
        study allows.
        """
        began = time.monotonic()
        demonstrations, counts = self.run.demonstrations, self.run.demonstration_counts
        made_from = self._made_from()
        if (read_json(counts) or {}).get("made_from") == made_from and is_sealed(demonstrations):
            return demonstrations
        folder = self.run.folder / f"demonstrations-{made_from}.kept"
        for outdated in self.run.folder.glob("demonstrations-*.kept"):
            if outdated != folder:
                drop_answers(outdated)
        records = asyncio.run(self._records(folder))
        tally, right = self._judged(records, folder)
        count = write_demonstrations(demonstrations, _sequences(records, self.run.study))
        seal_file(demonstrations, demonstrations, count)
        log.info(
            "%s: %d of %d meta-episodes ended right: %d demonstrations", self.run.method, right, tally.records, count
        )
        seconds = time.monotonic() - began
        record = {"made_from": made_from, "right": right, "demonstrations": count, **asdict(tally), "seconds": seconds}
        write_json(counts, record)
        drop_answers(folder)
        return demonstrations

    async def _records(self, folder: Path) -> Iterable[MetaEpisode]:
        questions, study = chosen_questions(self.run.study, self.run.seed, self.run.inputs.questions), self.run.study
        spec = AgentSpec.of(study, self.run.method)
        if self.run.settings.demonstrations == "gold_answers":
            renderer = Renderer(load_tokenizer(self.run.inputs.start), study.protocol)
            answering = [
                Agent(GoldAnswerPolicy(question, renderer), self.engine, spec, renderer) for question in questions
            ]
            gold_jobs = [self._job(agent, question, 0) for agent, question in zip(answering, questions, strict=True)]
            return await self._answers(gold_jobs, NoPolicy(), folder, whole_batches=True)
        longest, server_log = study.protocol.longest_sequence, self.run.folder / "generator.log"
        with open_policy(
            study.evaluation.generator,
            self.run.inputs.start,
            longest,
            server_log,
            self._copies,
            study.protocol.tags.closing,
            study.protocol.chat_template,
            ("sft", study.resources.sft.gpus),
        ) as policy:
            agent = Agent(policy, self.engine, spec, Renderer(policy.tokenizer, study.protocol))
            samples = range(study.sft.samples)
            jobs = [self._job(agent, question, sample) for question in questions for sample in samples]
            try:
                whole_batches = study.evaluation.generator.whole_batches
                return await self._answers(jobs, policy, folder, whole_batches=whole_batches)
            finally:
                await policy.aclose()

    async def _answers(
        self, jobs: Sequence[Job[MetaEpisode]], policy: Policy, folder: Path, *, whole_batches: bool
    ) -> Iterable[MetaEpisode]:
        together = self.run.study.evaluation.concurrency * self._copies
        with Meter(f"{self.run.method}: demonstrations", len(jobs)) as meter:
            return await answers(jobs, policy, together, folder, meter, whole_batches=whole_batches)

    def _job(self, agent: Agent, question: Question, sample: int) -> Job[MetaEpisode]:
        settings = self.run.study.sft
        request = Request(f"{question.id}/{sample:03d}", self.run.seed, settings.temperature, settings.top_p)
        return request.id, functools.partial(run_procedure, question, agent, request)

    def _judged(self, records: Iterable[MetaEpisode], folder: Path) -> tuple[Tally, int]:
        """What all records hold, and how many meta-episodes ended right; records that cannot be used are forgotten."""
        tally, right = Tally(), 0
        try:
            for record in records:
                tally.add(MetaEpisodeCounts.of(record))
                right += ended_right(record, self.run.study)
            tally.check(self.run.study, f"demonstrations of {self.run.method}")
            if not right:
                raise ValueError(self._nothing_right(tally.records))
        except BaseException:
            drop_answers(folder)
            raise
        return tally, right

    def _nothing_right(self, count: int) -> str:
        if self.run.settings.demonstrations == "gold_answers":
            return (
                f"methods.{self.run.method}: none of {count} golden answers fits into a reply: raise "
                f"protocol.max_turn_tokens ({self.run.study.protocol.max_turn_tokens}) or protocol.max_context_tokens"
            )
        return (
            f"methods.{self.run.method}: none of the {count} meta-episodes that the starting policy sampled ended "
            "right, so there is nothing to imitate: raise sft.questions or sft.samples, or set train.start to a "
            "policy that answers"
        )

    def _made_from(self) -> str:
        """Digest of everything that decides the demonstrations."""
        index = [hash_path(path) for path in sorted(self.run.inputs.indexes.rglob("index.json"))]
        files = [hash_path(self.run.inputs.start), hash_path(self.run.inputs.questions), *index]
        # Chunks of another size hold other meta-episodes.
        return digest(stages.train(self.run.study, self.run.model, self.run.method), self.run.seed, self._copies, files)

    @property
    def _copies(self) -> int:
        """Copies of the model that a server holds on the job's GPUs while it samples."""
        engine = self.run.study.evaluation.generator
        if self.run.settings.demonstrations != "self_generated" or engine.kind == "torch":
            return 1
        return max(1, self.run.study.resources.sft.gpus // engine.tensor_parallel)


class GoldAnswerPolicy:
    """A Policy that replies with the question's first golden answer in the protocol's tags."""

    def __init__(self, question: Question, renderer: Renderer) -> None:
        self._token_ids = renderer.answer(question.golden_answers[0])

    async def generate(self, context: Sequence[int], sampling: Sampling, request_id: str) -> Generation:
        """The reply."""
        return Generation.unsampled(self._token_ids, sampling)


def chosen_questions(study: Study, seed: int, path: Path) -> list[Question]:
    """The training questions that demonstrations are made of, in file order; ValueError where the file has too few."""
    questions, count = read_questions(path), study.sft.questions
    if count is None:
        return questions
    if count > len(questions):
        raise ValueError(f"sft.questions ({count}) is larger than the training set ({len(questions)} questions)")
    drawn = sorted(random.Random(f"{seed}/demonstrations").sample(range(len(questions)), count))
    return [questions[index] for index in drawn]


def ended_right(record: MetaEpisode, study: Study) -> bool:
    """Whether the last episode that took place earned the whole reward."""
    return episode_scores(record, study.protocol.scoring)[-1:] == [1.0]


def _sequences(records: Iterable[MetaEpisode], study: Study) -> Iterator[Demonstration]:
    for record in records:
        if ended_right(record, study):
            for sequence in training_sequences(record, study.protocol):
                yield Demonstration(sequence.token_ids, sequence.loss_mask)
