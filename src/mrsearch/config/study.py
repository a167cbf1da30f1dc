"""The study: what is compared, on what, and how."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from mrsearch.config.base import Model, Name, NonNegativeInt, PositiveInt, Seed
from mrsearch.config.data import Benchmark, Data
from mrsearch.config.generator import Generator
from mrsearch.config.hops import by_hops
from mrsearch.config.interventions import check_twins
from mrsearch.config.method_settings import MethodRetrieval, joined, restored
from mrsearch.config.methods import ONE_GENERATION, Method
from mrsearch.config.models import LanguageModel
from mrsearch.config.presets import merged
from mrsearch.config.protocol import Decoding, Protocol
from mrsearch.config.report import HOP_COLUMNS, NAMED_COLUMNS, SUMMARY_COLUMNS, Report
from mrsearch.config.retrieval import WITHOUT_SERVER, DenseRetriever, Retrieval
from mrsearch.config.reward import Reward
from mrsearch.config.sft import Sft, SupervisedTraining, WarmStart
from mrsearch.config.training import PolicyTraining

GPU_INDEXES = ("torch", "flat")
"""Indexes of dense retrievers that can lie on GPUs; flat by FAISS's build for them."""
TrainingStage = Literal["warm_start", "sft", "train"]


class Resources(Model):
    """What one job of a stage asks for."""

    threads: PositiveInt = 1
    """CPU cores."""
    mem_mb: PositiveInt = 4000
    """Memory."""
    runtime: PositiveInt = 60
    """Minutes."""
    gpus: NonNegativeInt = 0
    """GPUs per node."""
    nodes: PositiveInt = 1
    """Nodes."""


class StageResources(Model):
    """Resources by stage."""

    data: Resources = Resources()
    """Preparing questions and passages."""
    index: Resources = Resources()
    """Encoding passages and building the index."""
    retriever: Resources = Resources()
    """The retrieval server."""
    warm_start: Resources = Resources()
    """Supervised training on scripted demonstrations."""
    sft: Resources = Resources()
    """Supervised training on answers or on the policy's own meta-episodes, their sampling included."""
    train: Resources = Resources()
    """Reinforcement learning."""
    evaluate: Resources = Resources()
    """Evaluation of one method."""
    report: Resources = Resources()
    """Metrics, tables and figures."""


class Evaluation(Model):
    """How methods are evaluated."""

    decoding: dict[Name, Decoding] = {"greedy": Decoding()}
    """Named ways of sampling; every method is evaluated under each."""
    concurrency: PositiveInt = 400
    """Meta-episodes that run at the same time. With generator.kind torch so many end before the next begin; a server is
    asked for the next as soon as one has ended."""
    generator: Generator = Generator()
    """Who generates tokens."""


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
            raise ValueError(f"method {method!r} is not in study {self.name}: {_choices(self.methods)}")
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
        if retriever not in self.retrieval.retrievers:
            choices = _choices(self.retrieval.retrievers)
            raise ValueError(f"retriever {retriever!r} is not in study {self.name}: {choices}")
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

    @model_validator(mode="after")
    def _not_empty(self) -> Study:
        for key in ("seeds", "models", "methods", "benchmarks"):
            if not getattr(self, key):
                raise ValueError(f"{key} is empty: a study needs at least one")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds ({list(self.seeds)}) repeats a seed")
        if "base" in self.methods:
            raise ValueError('methods.base: "base" names the untrained model; choose another name')
        return self

    @model_validator(mode="after")
    def _settings_of_methods_fit(self) -> Study:
        retrievers = self.retrieval.retrievers
        for name, method in self.methods.items():
            if method.retrieval is not None and method.retrieval.use not in retrievers:
                raise ValueError(
                    f"methods.{name}.retrieval.use ({method.retrieval.use!r}) is not among retrieval.retrievers: "
                    f"{_choices(retrievers)}"
                )
            self.of(name)
        return self

    @model_validator(mode="after")
    def _references_exist(self) -> Study:
        trained = {name for name, method in self.methods.items() if method.train}
        for name, method in self.methods.items():
            if method.compare_with is not None and method.compare_with not in self.methods:
                raise ValueError(
                    f"methods.{name}.compare_with ({method.compare_with!r}) is not a method of this study: "
                    f"{_choices(self.methods)}"
                )
            if method.policy not in (None, "base") and method.policy not in trained:
                raise ValueError(
                    f"methods.{name}.policy ({method.policy!r}) is not a trained method of this study: "
                    f"{_choices(trained)}"
                )
            if method.train and method.train.start != "base" and method.train.start not in trained:
                raise ValueError(
                    f"methods.{name}.train.start ({method.train.start!r}) is not a trained method of this study: "
                    f"{_choices(trained)}"
                )
        if self.report.baseline not in self.methods:
            raise ValueError(
                f"report.baseline ({self.report.baseline!r}) is not a method of this study: {_choices(self.methods)}"
            )
        if self.report.decoding not in self.evaluation.decoding:
            raise ValueError(
                f"report.decoding ({self.report.decoding!r}) is not in evaluation.decoding: "
                f"{_choices(self.evaluation.decoding)}"
            )
        if self.report.scaling and all(method.episodes == 1 for method in self.methods.values()):
            raise ValueError("report.scaling is about methods of several episodes, and this study has none: remove it")
        for name in self.report.experiment.methods() if self.report.experiment else ():
            if name not in self.methods:
                raise ValueError(
                    f"report.experiment names {name!r}, which is no method of this study: {_choices(self.methods)}"
                )
        self._check_start_cycles()
        check_twins(self)
        return self

    @model_validator(mode="after")
    def _tables_name_what_is_there(self) -> Study:
        columns = [*self.benchmarks, *SUMMARY_COLUMNS, *NAMED_COLUMNS]
        defined = {
            "methods": list(self.methods),
            "bold": list(self.methods),
            "columns": columns,
            "decodings": list(self.evaluation.decoding),
        }
        for table, view in self.report.tables.items():
            for key, names in defined.items():
                for name in getattr(view, key) or ():
                    if name not in names:
                        raise ValueError(f"report.tables.{table}.{key} names {name!r}: {_choices(names)}")
            for row in view.external:
                for name in row.values:
                    if name not in columns:
                        entry = f"report.tables.{table}.external ({row.label})"
                        raise ValueError(f"{entry} has a value for {name!r}: {_choices(columns)}")
            self._check_hops(table, view.columns or ())
        return self

    def _check_hops(self, table: str, columns: tuple[str, ...]) -> None:
        """ValueError where columns compare hops that no benchmark has."""
        compared = [column for column in columns if column in HOP_COLUMNS]
        lacking = [hops for hops, names in by_hops(self).items() if not names]
        if compared and lacking:
            raise ValueError(
                f"report.tables.{table}.columns names {compared[0]!r}, but no benchmark of the mean is known to have "
                f"hops: {lacking[0]}: say so at a benchmark, or leave the column out"
            )

    @model_validator(mode="after")
    def _retrieval_fits(self) -> Study:
        retrievers = self.retrieval.retrievers
        if self.retrieval.use not in retrievers:
            raise ValueError(
                f"retrieval.use ({self.retrieval.use!r}) is not among retrieval.retrievers: {_choices(retrievers)}"
            )
        for name in self.retrieval.compared:
            if name not in retrievers or self.retrieval.compared.count(name) > 1:
                raise ValueError(
                    f"retrieval.compared names {name!r}, which is not a retriever of the study or stands there twice: "
                    f"{_choices(retrievers)}"
                )
        _check_members(self.retrieval)
        if self.retrieval.topk > self.retrieval.service.max_topk:
            raise ValueError(
                f"retrieval.topk ({self.retrieval.topk}) is larger than retrieval.service.max_topk "
                f"({self.retrieval.service.max_topk})"
            )
        return self

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
    def _retriever_uses_its_gpus(self) -> Study:
        gpus = self.resources.retriever.gpus
        if gpus and not self.gpu_indexes() and not self.reranks():
            raise ValueError(
                f"resources.retriever.gpus ({gpus}): no index of retrieval.use ({self.retrieval.use!r}) can use a "
                "GPU: set its index to torch, which searches exactly on GPUs, or resources.retriever.gpus to 0"
            )
        return self

    @model_validator(mode="after")
    def _benchmarks_distinct(self) -> Study:
        seen: dict[str, str] = {}
        for name, benchmark in self.benchmarks.items():
            source = benchmark.source or name
            if source in seen:
                raise ValueError(
                    f"benchmarks.{name} reads {source!r}, which benchmarks.{seen[source]} reads already: a benchmark "
                    "may appear once"
                )
            seen[source] = name
        if not any(benchmark.average for benchmark in self.benchmarks.values()):
            raise ValueError("no benchmark has average: true, so there would be no mean to report")
        return self

    @model_validator(mode="after")
    def _trainable(self) -> Study:
        for name, method in self.methods.items():
            if method.train and self.training_stage(name) == "warm_start" and self.data.kind != "world":
                raise ValueError(
                    f"methods.{name}.train.algorithm (sft) needs scripted demonstrations, which only data.kind: world "
                    "has: set train.demonstrations to gold_answers or self_generated"
                )
            if (
                method.train
                and method.train.demonstrations == "gold_answers"
                and method.procedure not in ONE_GENERATION
            ):
                raise ValueError(
                    f"methods.{name}.train.demonstrations (gold_answers) has no reply for procedure "
                    f"{method.procedure}: use one of {', '.join(ONE_GENERATION)}, or demonstrations: self_generated"
                )
            if method.train and method.train.algorithm == "ppo" and self.training_of(name).backend == "local":
                raise ValueError(
                    f"methods.{name}.train.algorithm (ppo) needs a critic, which training.backend: local does not "
                    "have; use verl"
                )
            if method.train and self.data.kind == "folder" and self.data.train is None:
                raise ValueError(
                    f"methods.{name}.train needs training questions: name their file below data.path in data.train, or "
                    "evaluate with policy: base"
                )
        return self

    @model_validator(mode="after")
    def _groups_can_be_compared(self) -> Study:
        for name, method in self.methods.items():
            size = self.training_of(name).group_size
            if method.train and method.train.compares and size < 2:
                raise ValueError(
                    f"training.group_size ({size}): methods.{name} trains by "
                    f"{method.train.algorithm}, which compares the meta-episodes of a question: set 2 or more"
                )
        return self

    @model_validator(mode="after")
    def _local_trainings_fit(self) -> Study:
        """Whether a policy training in one process has one GPU at most, and room in a pass for its longest sequence."""
        for name, method in self.methods.items():
            if not method.train or self.trained_by_verl(name) or self.training_stage(name) == "sft":
                continue
            stage = self.training_stage(name)
            resources: Resources = getattr(self.resources, stage)
            if resources.gpus * resources.nodes > 1:
                raise ValueError(
                    f"resources.{stage} ({resources.gpus} GPUs on {resources.nodes} nodes): methods.{name} trains in "
                    "one process, which uses one GPU: set gpus and nodes to 1, or use training.backend: verl"
                )
            longest = self.of(name).protocol.longest_sequence
            tokens = self.training_of(name).local.max_token_len_per_gpu
            if stage == "train" and tokens is not None and tokens < longest:
                raise ValueError(
                    f"training.local.max_token_len_per_gpu ({tokens}) is less than the longest sequence of "
                    f"methods.{name} ({longest} tokens): raise it, or lower protocol.max_context_tokens"
                )
        return self

    @model_validator(mode="after")
    def _fine_tuning_fits(self) -> Study:
        tuned = [name for name, method in self.methods.items() if method.train and self.trained_by_verl(name)]
        if not any(self.training_stage(name) == "sft" for name in tuned):
            return self
        settings, resources = self.sft, self.resources.sft
        if resources.nodes != 1:
            raise ValueError(f"resources.sft.nodes ({resources.nodes}): sft.backend verl trains on one node: set 1")
        ranks = resources.gpus or settings.cpu_ranks
        if settings.train_batch_size % (ranks * settings.micro_batch_size):
            raise ValueError(
                f"sft.train_batch_size ({settings.train_batch_size}) must be a multiple of sft.micro_batch_size "
                f"({settings.micro_batch_size}) on each of {ranks} ranks"
            )
        return self

    def _check_start_cycles(self) -> None:
        for name in self.methods:
            path, train = [name], self.methods[name].train
            while train and train.start != "base":
                if train.start in path:
                    raise ValueError(
                        f"methods.{name}.train.start runs in a circle: {' -> '.join([*path, train.start])}"
                    )
                path.append(train.start)
                train = self.methods[train.start].train


def _check_members(retrieval: Retrieval) -> None:
    """ValueError where a retriever searches one that is not there, that has another corpus, or itself."""
    retrievers = retrieval.retrievers
    for name in retrievers:
        path: list[tuple[str, ...]] = [(name,)]
        while path:
            reached = path.pop()
            for member in retrievers[reached[-1]].members:
                key = f"retrieval.retrievers.{reached[-1]}.of"
                if member not in retrievers:
                    raise ValueError(
                        f"{key} names {member!r}, which is no retriever of this study: {_choices(retrievers)}"
                    )
                if member in reached:
                    raise ValueError(f"{key} runs in a circle: {' -> '.join([*reached, member])}")
                if retrievers[member].kind == "remote":
                    raise ValueError(f"{key} names {member!r}, which finds passages of another corpus than the study's")
                path.append((*reached, member))
    for name in retrieval.compared:
        if retrievers[name].kind == "remote":
            raise ValueError(f"retrieval.compared names {name!r}, whose passages are not the study's: leave it out")


def _choices(names: object) -> str:
    return "known are " + ", ".join(sorted(map(str, names)))  # type: ignore[call-overload]
