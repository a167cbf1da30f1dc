"""The study: what is compared, on what, and how."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from mrsearch.config.base import Model, Name, PositiveInt, Seed
from mrsearch.config.checks import check_study
from mrsearch.config.choices import choices
from mrsearch.config.data import Benchmark, Data
from mrsearch.config.generator import Generator
from mrsearch.config.method_settings import MethodRetrieval, joined, restored
from mrsearch.config.methods import Method
from mrsearch.config.models import LanguageModel
from mrsearch.config.presets import merged
from mrsearch.config.protocol import Decoding, Protocol
from mrsearch.config.report import Report
from mrsearch.config.resources import StageResources
from mrsearch.config.retrieval import WITHOUT_SERVER, DenseRetriever, Retrieval
from mrsearch.config.reward import Reward
from mrsearch.config.sft import Sft, SupervisedTraining, WarmStart
from mrsearch.config.training import PolicyTraining

GPU_INDEXES = ("torch", "flat")
"""Indexes of dense retrievers that can lie on GPUs; flat by FAISS's build for them."""
TrainingStage = Literal["warm_start", "sft", "train"]


class Evaluation(Model):
    """How methods are evaluated."""

    decoding: dict[Name, Decoding] = {"greedy": Decoding()}
    """Named ways of sampling; every method is evaluated under each."""
    concurrency: PositiveInt = 400
    """Meta-episodes that run at the same time. With generator.kind torch so many end before the next begin; a server is
    asked for the next as soon as one has ended."""
    generator: Generator = Generator()
    """Who generates tokens."""
    share_policy: bool = False
    """One job evaluates all methods that run the same weights alike, one after the other, and starts the policy or its
    server once for them; otherwise each has a job of its own and they run side by side. `resources.evaluate` is then
    for all of them together."""


class Study(Model):
    """Everything that decides a study's numbers."""

    name: Name
    """Name of the study and of its folder below `paths.results`."""
    title: str = ""
    """One line that says what the study is for."""
    seeds: tuple[Seed, ...] = (0,)
    """Training seeds; every trained method is trained once per seed."""
    data: Data
    """Where questions and passages come from."""
    protocol: Protocol = Protocol()
    """Prompts, formats and budgets."""
    retrieval: Retrieval
    """The retrievers."""
    models: dict[Name, LanguageModel]
    """Language models by name."""
    methods: dict[Name, Method]
    """Methods by name, in the order of the tables."""
    benchmarks: dict[Name, Benchmark]
    """Benchmarks by name, in the order of the tables."""
    warm_start: WarmStart = WarmStart()
    """Supervised training on scripted demonstrations."""
    sft: Sft = Sft()
    """Supervised training on answers or on the policy's own meta-episodes."""
    training: PolicyTraining = PolicyTraining()
    """Reinforcement learning."""
    evaluation: Evaluation = Evaluation()
    """Decoding and concurrency."""
    report: Report = Report()
    """Baseline and intervals."""
    resources: StageResources = StageResources()
    """What each stage's jobs ask for."""

    def of(self, method: str) -> Study:
        """The study as `method` has it: its settings are the shared ones, and the others keep what they had.

        ValueError for an unknown method.
        """
        if method not in self.methods:
            raise ValueError(f"method {method!r} is not in study {self.name}: {choices(self.methods)}")
        settings = self.methods[method]
        if not settings.has_settings:
            return self
        shared = {
            "training": self.training_of(method),
            "protocol": joined(self.protocol, settings.protocol, f"methods.{method}.protocol"),
            "retrieval": self.retrieval.model_copy(update={"use": self.retriever_of(method)}),
            "warm_start": self.warm_start_of(method),
        }
        methods = {name: row if name == method else self._keeping(row, settings) for name, row in self.methods.items()}
        without: dict[str, object] = {"training": {}, "protocol": {}, "retrieval": None, "warm_start": {}}
        methods[method] = settings.model_copy(update=without)
        return self.model_copy(update={**shared, "methods": methods})

    def _keeping(self, row: Method, changed: Method) -> Method:
        """The method with what it took from the shared settings as settings of its own, where those are changed."""
        update: dict[str, object] = {"protocol": merged(restored(self.protocol, changed.protocol), row.protocol)}
        if row.learns_by_reward:
            update["training"] = merged(restored(self.training, changed.training), row.training)
        if row.imitates_scripts:
            update["warm_start"] = merged(restored(self.warm_start, changed.warm_start), row.warm_start)
        if changed.retrieval is not None and row.searches:
            update["retrieval"] = row.retrieval or MethodRetrieval(use=self.retrieval.use)
        return row.model_copy(update=update)

    def retriever_of(self, method: str) -> str:
        """The retriever that agents of `method` search with."""
        settings = self.methods[method].retrieval
        return self.retrieval.use if settings is None else settings.use

    def training_of(self, method: str) -> PolicyTraining:
        """How `method` is trained by reinforcement learning."""
        return joined(self.training, self.methods[method].training, f"methods.{method}.training")

    def warm_start_of(self, method: str) -> WarmStart:
        """How `method` is trained on scripted demonstrations."""
        return joined(self.warm_start, self.methods[method].warm_start, f"methods.{method}.warm_start")

    def searching(self, retriever: str) -> Study:
        """The study with this one of its retrievers in use; ValueError where it has none of this name."""
        retrievers = self.retrieval.retrievers
        if retriever not in retrievers:
            raise ValueError(f"retriever {retriever!r} is not in study {self.name}: {choices(retrievers)}")
        return self.model_copy(update={"retrieval": self.retrieval.model_copy(update={"use": retriever})})

    def policy_of(self, method: str) -> str:
        """Whose weights run `method`: "base" or the name of a trained method."""
        settings = self.methods[method]
        return method if settings.train else settings.policy or "base"

    def training_stage(self, method: str) -> TrainingStage:
        """The stage whose settings and resources a training of `method` takes; ValueError where it trains nothing."""
        train = self.methods[method].train
        if train is None:
            raise ValueError(f"methods.{method} trains nothing: it runs the policy of {self.policy_of(method)!r}")
        if train.algorithm != "sft":
            return "train"
        return "warm_start" if train.demonstrations == "scripted" else "sft"

    def training_steps(self, method: str) -> int:
        """Steps of a training of `method` at most; ValueError as `training_stage`."""
        settings: dict[TrainingStage, SupervisedTraining | PolicyTraining] = {
            "warm_start": self.warm_start_of(method),
            "sft": self.sft,
            "train": self.training_of(method),
        }
        return settings[self.training_stage(method)].steps

    def trained_by_verl(self, method: str) -> bool:
        """Whether the training of `method` runs in verl; ValueError as `training_stage`."""
        stage = self.training_stage(method)
        return stage != "warm_start" and (self.training_of(method) if stage == "train" else self.sft).backend == "verl"

    def active_stages(self) -> tuple[str, ...]:
        """Stages that have a job in this study, in the order of `StageResources`."""
        active = {"data", "index", "evaluate", "report"}
        active |= {self.training_stage(name) for name, method in self.methods.items() if method.train}
        if self.served():
            active.add("retriever")
        return tuple(stage for stage in StageResources.model_fields if stage in active)

    def max_turns_of(self, method: str) -> int:
        """Turn budget of an episode of `method`."""
        return self.methods[method].max_turns or self.of(method).protocol.max_turns

    def searched(self) -> tuple[str, ...]:
        """Retrievers that methods search with, each once."""
        return tuple(dict.fromkeys(map(self.retriever_of, self.methods)))

    def served(self) -> tuple[str, ...]:
        """Retrievers that methods reach through a server of the pipeline, each once; none where
        `retrieval.service.mode` is in_process."""
        return tuple(name for name in self.searched() if self.has_server(name))

    def has_server(self, retriever: str) -> bool:
        """Whether searches reach a retriever through a server that the pipeline starts."""
        kind = self.retrieval.retrievers[retriever].kind
        return self.retrieval.service.mode == "http" and kind not in WITHOUT_SERVER

    def reward_of(self, method: str) -> Reward:
        """What an episode of a training of `method` is rewarded for, its base resolved."""
        train = self.methods[method].train
        reward = train.reward if train and train.reward else self.training.reward
        return reward.model_copy(update={"base": reward.base or self.protocol.scoring})

    def indexed(self) -> tuple[str, ...]:
        """Retrievers whose indexes the searches of all methods need: those in use, or what these fuse."""
        return tuple(dict.fromkeys(member for name in self.searched() for member in self.members(name)))

    def index_of(self, method: str) -> tuple[str, ...]:
        """The same for the searches of one method."""
        return self.members(self.retriever_of(method))

    def compared(self) -> tuple[str, ...]:
        """Retrievers whose indexes the report on retrieval needs, each once."""
        return tuple(dict.fromkeys(member for name in self.retrieval.compared for member in self.members(name)))

    def members(self, retriever: str) -> tuple[str, ...]:
        """The retrievers whose indexes its searches need: itself, or those that it searches in turn; none where it
        needs none."""
        return tuple(name for name in self.reached(retriever) if self.retrieval.retrievers[name].indexed)

    def reached(self, retriever: str) -> tuple[str, ...]:
        """The retriever and every one that its searches reach, each once."""
        below = [name for member in self.retrieval.retrievers[retriever].members for name in self.reached(member)]
        return tuple(dict.fromkeys([retriever, *below]))

    def gpu_indexes(self) -> tuple[str, ...]:
        """Indexes of the study's searches that a GPU can hold, each once."""
        retrievers = [self.retrieval.retrievers[name] for name in self.indexed()]
        kinds = [retriever.index for retriever in retrievers if isinstance(retriever, DenseRetriever)]
        return tuple(dict.fromkeys(kind for kind in kinds if kind in GPU_INDEXES))

    def reranks(self) -> bool:
        """Whether its searches run a cross-encoder, which takes a GPU where there is one."""
        reached = {member for name in self.searched() for member in self.reached(name)}
        return any(self.retrieval.retrievers[name].kind == "reranked" for name in reached)

    @model_validator(mode="after")
    def _follows_the_rules(self) -> Study:
        check_study(self)
        return self
