"""Methods: what a study compares."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mrsearch.config.base import MOST, Measured, Model, Name, PositiveFloat, PositiveInt, SparseModel
from mrsearch.config.installed import completed
from mrsearch.config.interventions import Intervention, check_intervention
from mrsearch.config.method_settings import SHARED, KeysOf, MethodRetrieval
from mrsearch.config.protocol import Protocol
from mrsearch.config.sft import WarmStart
from mrsearch.config.training import PolicyTraining, Train
from mrsearch.extensions import PROCEDURES

Procedure = Literal["direct", "cot", "rag", "ircot", "search_o1", "meta_episode"]
Context = Literal["full", "previous", "summary", "independent"]
ONE_GENERATION = ("direct", "cot", "rag")
WITHOUT_SEARCH = ("direct", "cot")
SETTINGS = ("training", "protocol", "retrieval", "warm_start")
"""Keys of a method that take the place of the study's."""


class SweepPoint(Model):
    """What tells a method apart from the others of its sweep."""

    of: Name
    """The method that they were made from."""
    values: dict[str, Annotated[int, Field(ge=-MOST, le=MOST)] | Measured | str]
    """Values by key; those that are no numbers by their names."""


class Method(SparseModel):
    """One row of the tables: an inference procedure, the policy that runs it and, for some, its training."""

    idle_keys: ClassVar = (*SETTINGS, "sweep", "procedure_settings", "procedure_package", "intervention")
    label: str | None = None
    """How tables and figures call it; null is the method's own name."""
    procedure: Procedure | Name = "meta_episode"
    """direct, cot and rag answer in one generation; ircot searches with every sentence of its reasoning; search_o1
    searches and reads the passages in a generation of its own; meta_episode searches and reflects. Installed packages
    add others."""
    procedure_settings: dict[str, Any] = {}
    """Settings of an installed procedure, by its package's own model."""
    procedure_package: str | None = None
    """Name and version of the package of an installed procedure; written down when a study is started."""
    policy: Name | None = None
    """Whose weights run it: `base` or a trained method; null is the method itself where it trains, else `base`."""
    episodes: PositiveInt = 1
    """Episodes of a meta-episode (the paper's N)."""
    max_turns: PositiveInt | None = None
    """Turn budget of an episode; null takes the protocol's."""
    context: Context = "full"
    """What of earlier episodes stays in the context. previous: the episode before alone. summary: what the agent
    writes down when an episode ends, and nothing else. independent: nothing, and no reflection prompt either, so that
    the episodes are parallel samples of one procedure."""
    temperature: PositiveFloat | None = None
    """Temperature of this method whatever the decoding, as parallel samples need; null takes the decoding's."""
    stop_after_agreeing: int | None = Field(None, ge=2, le=MOST)
    """End a meta-episode once this many answers in a row agree in normal form; null runs every episode."""
    stop_when_confident: float | None = Field(None, gt=0.0, lt=1.0)
    """End a meta-episode once the geometric mean probability of an answer's tokens reaches this; null runs every
    episode."""
    train: Train | None = None
    """How its policy is trained; null for methods that borrow one."""
    compare_with: Name | None = None
    """Method that it is compared with beside the report's baseline: the table `paired` shows the differences and their
    tests."""
    intervention: Intervention | None = None
    """What its agents do without at test time; it may differ from `compare_with` by that alone. Example:
    {kind: blanked_passages}."""
    training: Annotated[dict[str, Any], KeysOf(PolicyTraining)] = {}
    """Keys of the study's `training` with other values for this method alone. Example: {learning_rate: 2.0e-6}."""
    protocol: Annotated[dict[str, Any], KeysOf(Protocol)] = {}
    """Keys of the study's `protocol` with other values for this method alone, prompts and budgets above all; `preset`,
    `wording`, `answer`, `scoring` and `append_question_mark` are the study's. Example: {max_context_tokens: 4096}."""
    retrieval: MethodRetrieval | None = None
    """Another retriever of the study for this method alone. Example: {use: bm25}."""
    warm_start: Annotated[dict[str, Any], KeysOf(WarmStart)] = {}
    """Keys of the study's `warm_start` with other values for this method alone. Example: {persistence: 0.1}."""

    sweep: SweepPoint | None = None
    """Where in a sweep it stands; the study's `sweep` writes it."""

    @property
    def has_settings(self) -> bool:
        """Whether it has settings of its own in the place of the study's."""
        return any(getattr(self, key) for key in SETTINGS)

    @property
    def learns_by_reward(self) -> bool:
        """Whether it is trained by reinforcement learning."""
        return self.train is not None and self.train.algorithm != "sft"

    @property
    def imitates_scripts(self) -> bool:
        """Whether it is trained on scripted demonstrations."""
        return self.train is not None and self.train.algorithm == "sft" and self.train.demonstrations == "scripted"

    @property
    def searches(self) -> bool:
        """Whether its procedure searches, so that it needs an engine."""
        if self.procedure_package is not None:
            return bool(getattr(PROCEDURES.load(self.procedure), "searches", True))
        return self.procedure not in WITHOUT_SEARCH

    @property
    def reflects(self) -> bool:
        """Whether its procedure goes through episodes that see those before them."""
        if self.procedure_package is not None:
            return bool(getattr(PROCEDURES.load(self.procedure), "reflects", False))
        return self.procedure == "meta_episode"

    @property
    def parallel(self) -> bool:
        """Whether its episodes are independent samples."""
        return self.context == "independent"

    @property
    def changes_context(self) -> bool:
        """Whether its episodes see contexts that are not the start of one another, so that each is a sequence of its
        own in training."""
        return self.context in ("previous", "summary")

    @property
    def stops_early(self) -> bool:
        """Whether it may end before its last episode."""
        return self.stop_after_agreeing is not None or self.stop_when_confident is not None

    @model_validator(mode="before")
    @classmethod
    def _procedure_is_there(cls, raw: Any) -> Any:
        return completed(raw, PROCEDURES, "procedure", "procedure_settings", "procedure_package")

    @model_validator(mode="after")
    def _settings_fit_the_method(self) -> Method:
        if self.training and not self.learns_by_reward:
            raise ValueError(
                "training changes how this method is trained by reinforcement learning, and it is not: remove it, or "
                "give it to the method whose policy this one runs"
            )
        if self.warm_start and not self.imitates_scripts:
            raise ValueError(
                "warm_start changes how this method is trained on scripted demonstrations, and it is not: give it to "
                "the method where this one's training starts"
            )
        for key in SHARED:
            if key in self.protocol:
                raise ValueError(f"protocol.{key} is the same for all methods: set it in the study's protocol")
        if self.retrieval is not None and not self.searches:
            raise ValueError(f"procedure {self.procedure!r} does not search: remove retrieval ({self.retrieval.use!r})")
        return self

    @model_validator(mode="after")
    def _turns_fit_the_procedure(self) -> Method:
        if self.procedure in ONE_GENERATION and self.max_turns is not None:
            raise ValueError(
                f"procedure {self.procedure!r} answers in one generation: remove max_turns ({self.max_turns})"
            )
        return self

    @model_validator(mode="after")
    def _episodes_fit_the_procedure(self) -> Method:
        if not self.reflects and self.episodes != 1 and not self.parallel:
            how = "answers in one generation" if self.procedure in ONE_GENERATION else "does not reflect"
            raise ValueError(
                f"procedure {self.procedure!r} {how}: remove episodes ({self.episodes}), or set context: "
                "independent for parallel samples"
            )
        return self

    @model_validator(mode="after")
    def _summaries_get_no_credit_of_their_own(self) -> Method:
        if self.context == "summary" and self.train is not None and self.train.turn_credit is not None:
            raise ValueError(
                "train.turn_credit rewards turns that search or answer, and context: summary ends episodes with one "
                "that does neither: remove one of them"
            )
        return self

    @model_validator(mode="after")
    def _parallel_samples_differ(self) -> Method:
        if self.parallel and self.episodes > 1 and self.temperature is None:
            raise ValueError("context: independent needs a temperature: greedy samples would all be the same")
        return self

    @model_validator(mode="after")
    def _evaluation_alone_has_its_options(self) -> Method:
        if self.train and (self.parallel or self.temperature is not None or self.stops_early):
            raise ValueError(
                "context: independent, temperature, stop_after_agreeing and stop_when_confident belong to evaluation: "
                "give them to another method whose policy is this one"
            )
        return self

    @model_validator(mode="after")
    def _intervention_fits(self) -> Method:
        check_intervention(self)
        return self

    @model_validator(mode="after")
    def _early_stops_have_episodes(self) -> Method:
        if self.stop_when_confident is not None and self.episodes == 1:
            raise ValueError("stop_when_confident needs more than one episode: raise episodes, or remove it")
        if self.stop_after_agreeing is not None and self.stop_after_agreeing > self.episodes:
            raise ValueError(
                f"stop_after_agreeing ({self.stop_after_agreeing}) is larger than episodes ({self.episodes}): lower it"
            )
        return self

    @model_validator(mode="after")
    def _trained_methods_run_their_own_policy(self) -> Method:
        if self.train and self.policy:
            raise ValueError(
                f"policy ({self.policy!r}) and train exclude each other: a trained method runs its own policy"
            )
        return self

    @model_validator(mode="after")
    def _mask_fits_the_episodes(self) -> Method:
        mask = self.train.episode_mask if self.train else None
        if mask is not None and len(mask) != self.episodes:
            raise ValueError(
                f"train.episode_mask has {len(mask)} entries but episodes is {self.episodes}: give one per episode"
            )
        if mask is not None and not any(mask):
            raise ValueError("train.episode_mask is 0 everywhere: nothing would be rewarded")
        return self
