"""What a study will cost: jobs, GPUs, hours, GPU hours and disk by stage and model, from arithmetic alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mrsearch.config import Study
from mrsearch.config.resources import Resources
from mrsearch.config.shared_policies import job_of
from mrsearch.data import registry
from mrsearch.planning import local, memory, needs, speed
from mrsearch.planning.shapes import Shape, shape_of
from mrsearch.planning.trainings import training_memory_of

GB = 1e9


@dataclass(frozen=True, slots=True)
class StageCost:
    """The jobs of one kind."""

    stage: str
    model: str
    jobs: int
    gpus: int
    """Of one job."""
    hours: float
    """Of one job."""
    disk: float
    """Bytes of all of them."""
    gpu_memory: float | None
    """Bytes on each GPU at worst; None where it has none."""
    note: str = ""

    @property
    def gpu_hours(self) -> float:
        return self.jobs * self.gpus * self.hours


class Plan:
    """A study's cost on one kind of card."""

    def __init__(self, study: Study, card: speed.Card, assumptions: speed.Assumptions) -> None:
        self.study, self.card, self.assumptions = study, card, assumptions

    def rows(self) -> Iterator[StageCost]:
        """In the order in which the stages run."""
        study = self.study
        yield from self._shared()
        for name, model in study.models.items():
            shape = shape_of(model)
            guessed = "shape guessed from its number of parameters" if shape.guessed else ""
            yield StageCost("base model", name, 1, 0, 0.0, 2.0 * shape.parameters, None, guessed)
            trained = [method for method in study.methods if study.methods[method].train]
            for method in trained:
                yield self._training(name, shape, method)
            for method in study.methods:
                yield self._evaluation(name, shape, method)

    def _shared(self) -> Iterator[StageCost]:
        """Passages, indexes and the retriever; the retriever's hours are those of the run, which `summary` adds."""
        study = self.study
        if study.data.kind != "hub":
            return
        index, gpus = needs.index_needs(study, study.resources.retriever.gpus), study.resources.retriever.gpus
        yield StageCost("corpus", "", 1, 0, 0.0, needs.corpus_bytes(study), None)
        yield StageCost("indexes", "", len(study.indexed()), study.resources.index.gpus, 0.0, float(index.disk), None)
        yield StageCost(
            "retriever", "", 1, gpus, 0.0, 0.0, index.gpu / gpus if gpus else None, "hours: as long as the run"
        )

    def length(self, method: str) -> speed.Length:
        """Tokens of one meta-episode of the method, within its budgets."""
        settings, protocol, assumed = self.study.methods[method], self.study.of(method).protocol, self.assumptions
        turns = min(self.study.max_turns_of(method), max(1.0, assumed.generated_tokens / assumed.tokens_per_turn))
        if settings.procedure in ("direct", "cot", "rag"):
            turns = 1.0
        searches = (
            turns - 1 if settings.procedure not in ("direct", "cot", "rag") else float(settings.procedure == "rag")
        )
        observation = min(protocol.max_observation_tokens, self.study.retrieval.topk * assumed.passage_tokens)
        generated = min(turns * assumed.tokens_per_turn, turns * protocol.max_turn_tokens) * settings.episodes
        observed = 200 + settings.episodes * (60 + searches * observation)
        scale = min(1.0, protocol.max_context_tokens / (generated + observed))
        return speed.Length(generated * scale, observed * scale)

    def questions(self) -> int:
        """Questions of all benchmarks together."""
        return sum(self._questions(name) for name in self.study.benchmarks)

    def _questions(self, benchmark: str) -> int:
        data = self.study.data
        limit: int | None = getattr(data, "questions_per_benchmark", None)
        if data.kind != "hub":
            return limit or 0
        rows = registry.questions_row(self.study, benchmark).rows or 0
        return min(rows, limit) if limit else rows

    def _training(self, name: str, shape: Shape, method: str) -> StageCost:
        study, stage = self.study.of(method), self.study.training_stage(method)
        resources: Resources = getattr(study.resources, stage)
        gpus, steps = resources.gpus * resources.nodes, study.training_steps(method)
        lora = study.training.lora if stage == "train" else None
        disk = (study.training.checkpoints_kept + 1) * needs.CHECKPOINT_BYTES * shape.trained(lora)
        disk += 2 * shape.parameters
        if not gpus:
            return StageCost(
                f"training: {method}", name, len(study.seeds), 0, 0.0, len(study.seeds) * disk, None, "on CPUs"
            )
        if stage == "train":
            seconds = self._step_seconds(study, shape, method, gpus) * steps
            seconds += steps / study.training.checkpoint_every * self.assumptions.save_seconds
        else:
            tokens = study.sft.train_batch_size * self.length(method).total
            seconds = steps * speed.update_seconds(shape, tokens, gpus, self.card, self.assumptions.mfu, False, False)
        peak = training_memory_of(study, shape, stage, gpus).peak
        hours = seconds / 3600 + self.assumptions.start_minutes / 60
        notes = [f"more than a {self.card.name} has"] if peak > self.card.memory else []
        if stage == "train" and study.training.filter_groups is not None:
            most = study.training.filter_groups.max_num_gen_batches
            notes.append(f"hours: of 1 generated batch a step, where filter_groups allows {most}")
        return StageCost(
            f"training: {method}", name, len(study.seeds), gpus, hours, len(study.seeds) * disk, peak, "; ".join(notes)
        )

    def _step_seconds(self, study: Study, shape: Shape, method: str, gpus: int) -> float:
        """One step: generation by every GPU, then updates."""
        training, length = study.training, self.length(method)
        if training.backend == "local":
            return local.step_seconds(study, method, shape, length, self.card, self.assumptions).total
        verl, count = training.verl, training.train_batch_size * training.group_size
        room = memory.kv_tokens(shape, verl.tensor_parallel, self.card.memory, verl.gpu_memory_utilization)
        copies = gpus / verl.tensor_parallel
        generation = speed.generation_seconds(
            shape, count, length, room / length.total, copies, self.card, self.assumptions.decode_share
        )
        update = speed.update_seconds(
            shape,
            count * length.total * training.epochs,
            gpus,
            self.card,
            self.assumptions.mfu,
            verl.old_logprobs == "recompute",
            training.kl_coef > 0,
            frozen=training.lora is not None,
        )
        return generation + update

    def _evaluation(self, name: str, shape: Shape, method: str) -> StageCost:
        study, resources = self.study, self.study.resources.evaluate
        generator, length = study.evaluation.generator, self.length(method)
        count = self.questions() * len(study.evaluation.decoding)
        disk = len(study.seeds) * count * (1500 + 4.0 * length.total)
        if not resources.gpus:
            return StageCost(f"evaluation: {method}", name, len(study.seeds), 0, 0.0, disk, None, "on CPUs")
        tensor_parallel, share = generator.tensor_parallel, generator.gpu_memory_utilization
        room = memory.kv_tokens(shape, tensor_parallel, self.card.memory, share)
        slots = min(room / length.total, study.evaluation.concurrency, generator.requests) * self.assumptions.in_flight
        copies = resources.gpus / tensor_parallel
        seconds = speed.generation_seconds(
            shape, count, length, slots, copies, self.card, self.assumptions.decode_share
        )
        reserved = sum(memory.generation_memory(shape, tensor_parallel, self.card.memory, share).values())
        # What shares a job starts once.
        hours = seconds / 3600 + self.assumptions.start_minutes / 60 / len(job_of(study, method))
        return StageCost(f"evaluation: {method}", name, len(study.seeds), resources.gpus, hours, disk, reserved)


@dataclass(frozen=True, slots=True)
class Summary:
    """A whole study."""

    gpu_hours: float
    """Of trainings and evaluations."""
    retriever_gpu_hours: float
    """Of the retriever, while they run one after the other on one node."""
    node: int
    """GPUs of a node: the most that a stage asks for."""
    node_hours: float
    """Wall time on one node: trainings one by one, evaluations as many at a time as its GPUs take."""
    disk: float
    """Bytes, all checkpoints kept."""


def summary(study: Study, rows: list[StageCost]) -> Summary:
    """The sums over a plan's rows."""
    node = max([study.resources.train.gpus, study.resources.sft.gpus, study.resources.evaluate.gpus, 1])
    busy = sum(row.jobs * row.hours * min(1.0, row.gpus / node) for row in rows if row.gpus)
    gpu_hours = sum(row.gpu_hours for row in rows)
    return Summary(gpu_hours, busy * study.resources.retriever.gpus, node, busy, sum(row.disk for row in rows))
