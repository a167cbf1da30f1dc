"""Which configuration values each stage depends on, as digests.

Snakemake runs a job again when the digest in its `params` changes, so that new report settings train nothing anew and
new training settings build no index anew. What a stage reads from files needs no place here: the files' own times
tell.
"""

from __future__ import annotations

from mrsearch.config.data import FolderData, holds_out
from mrsearch.config.hub_rows import HubRow
from mrsearch.config.load import digest
from mrsearch.config.local import LocalTraining, LocalUpdates
from mrsearch.config.methods import SETTINGS
from mrsearch.config.prompt_words import words_of_methods
from mrsearch.config.reward import Reward
from mrsearch.config.study import Study
from mrsearch.config.verl import HealthLimits
from mrsearch.extensions import PROCEDURES

OPTIONS = ("temperature", "stop_after_agreeing", "stop_when_confident")
"""Keys of a method that change nothing while they are null."""
TRAIN_OPTIONS = ("llds_coef", "turn_credit", "mask_abnormal_turns")
"""Keys of a method's training that change nothing while they are empty."""
WARM_START_OPTIONS = ("persistence",)
"""Keys of a warm start that change nothing while they are null."""
MODEL_OPTIONS = ("tag_preference", "embedding_rows", "dtype")
"""Keys of a tiny model that change nothing while they are null."""
TRAINING_DATA = ("train", "validation_share", "drop_overlap")
"""Keys of a folder or of published data that decide what is trained on."""
DATA_OPTIONS = {"world": ("distractor_rate",), "folder": TRAINING_DATA, "hub": ("validation_share",)}
"""Keys of each kind of data that change nothing while they are null, false or 0."""
LOSS_OPTIONS = {
    "clip_range_high": None,
    "dual_clip": None,
    "importance_sampling_level": "token",
    "entropy_coeff": 0.0,
    "loss_scale_factor": None,
}
"""Keys of the local trainer that change nothing at these values."""
VALIDATION_OPTIONS = ("validation_questions", "validate_every", "export")
"""Keys of `training.local` that change nothing while no question is held out."""
PROMPTS = {"ircot": ("ircot", "conclude"), "search_o1": ("read",)}
"""Prompts that one procedure alone reads."""


def questions(study: Study, dataset: str) -> str:
    """For one file of questions, "train" or a benchmark."""
    source = study.benchmarks[dataset].source if dataset in study.benchmarks else None
    if dataset == "train":
        unused = ["questions_per_benchmark", "distractor_rate"]
    else:
        unused = ["train_questions", "distractor_rate", *_training_data(study, source or dataset)]
    prompts, question_mark = _protocol(study)["prompts"], study.protocol.append_question_mark
    held_out = holds_out(study.data, source or dataset)
    declared = _declared(study, None if dataset == "train" or held_out else source or dataset)
    return digest(_data(study, *unused), source, prompts, question_mark, *declared)


def corpus(study: Study) -> str:
    """For the passages. A folder's passages are chosen around the study's questions where there is a limit."""
    data = study.data
    if isinstance(data, FolderData):
        unused = ["drop_overlap"] if data.passages else TRAINING_DATA
        sources = [benchmark.source or name for name, benchmark in study.benchmarks.items()]
        return digest(_data(study, *unused), sources)
    unused = [key for key in type(data).model_fields if key not in ("kind", "corpus")] if data.kind == "hub" else []
    declared = _declared(study, data.corpus) if data.kind == "hub" else []
    return digest(_data(study, "train_questions", "questions_per_benchmark", *unused), *declared)


def index(study: Study, retriever: str) -> str:
    """For one index."""
    return digest(study.retrieval.retrievers[retriever])


def retrieval(study: Study) -> str:
    """For the report on retrieval."""
    compared = study.retrieval.compared
    reached = {member for name in compared for member in study.reached(name)}
    below = sorted(name for name in reached.difference(compared) if not study.retrieval.retrievers[name].indexed)
    retrievers = {name: study.retrieval.retrievers[name] for name in (*compared, *below)}
    return digest(retrievers, list(study.benchmarks))


def base_model(study: Study, model: str) -> str:
    """For an untrained model; a tokenizer fitted here also depends on the study's texts."""
    source = study.models[model]
    if source.kind != "tiny":
        return digest(_model(study, model))
    words = words_of_methods(study) if source.tokenizer == "word" else []
    return digest(_model(study, model), _protocol(study), _data(study), *([words] if words else []))


def train(study: Study, model: str, method: str) -> str:
    """For the training of one method."""
    study = study.of(method)
    stage = study.training_stage(method)
    settings = {"warm_start": _warm_start(study), "sft": _sft(study, method), "train": _training(study)}[stage]
    reward = study.reward_of(method)
    shaped = [reward] if stage == "train" and reward != Reward(base=study.protocol.scoring) else []
    behaviour = _behaviour(study, method)
    return digest(_model(study, model), behaviour, settings, _protocol(study, method), _search(study), *shaped)


def evaluate(study: Study, method: str) -> str:
    """For the evaluation of one method, and the scores that it writes."""
    study = study.of(method)
    rules = [name for name, benchmark in study.benchmarks.items() if benchmark.yes_no_rule]
    behaviour = _behaviour(study, method, "train")
    return digest(behaviour, _evaluation(study), _protocol(study, method), _search(study), *([rules] if rules else []))


def report(study: Study) -> str:
    """For metrics, tables and figures."""
    labels = {name: (method.label, method.compare_with) for name, method in study.methods.items()}
    counted = study.protocol.scoring, *([study.protocol.answer] if study.protocol.answer != "last_valid" else [])
    sweeps = {name: method.sweep for name, method in study.methods.items() if method.sweep}
    shown = study.title, labels, study.benchmarks, study.report, *counted, study.seeds
    return digest(*shown, *([sweeps] if sweeps else []))


def _data(study: Study, *excluded: str) -> dict[str, object]:
    """The data's keys but for the excluded ones; options that are not in use are left out."""
    values: dict[str, object] = study.data.model_dump(mode="json", exclude={"rows", *excluded})
    idle = DATA_OPTIONS[study.data.kind]
    return {key: value for key, value in values.items() if key not in idle or value not in (None, False)}


def _declared(study: Study, name: str | None) -> list[HubRow]:
    """The row of the training questions, for None, or of that name, where the study itself declares it."""
    data = study.data
    if data.kind != "hub":
        return []
    row = data.rows.get(data.train if name is None else name)
    return [] if row is None else [row]


def _training_data(study: Study, source: str) -> tuple[str, ...]:
    """Keys of the training questions that a benchmark of `source` does not depend on."""
    return () if study.data.kind == "world" else ("drop_overlap",) if holds_out(study.data, source) else TRAINING_DATA


def _model(study: Study, model: str) -> dict[str, object]:
    """The model's keys; an option that it does not use is left out."""
    values: dict[str, object] = study.models[model].model_dump(mode="json")
    return {key: value for key, value in values.items() if key not in MODEL_OPTIONS or value is not None}


def _behaviour(study: Study, method: str, *excluded: str) -> dict[str, object]:
    """The method's keys that decide its numbers, but for its reward; options that it does not use are left out, and so
    are settings of its own, which stand in the place of the study's."""
    without = {"label", "compare_with", "sweep", *SETTINGS, *excluded}
    values = study.methods[method].model_dump(mode="json", exclude=without)
    if train := values.get("train"):
        del train["reward"]
        for name in TRAIN_OPTIONS:
            if not train[name]:
                del train[name]
        if train["demonstrations"] == "scripted":
            del train["demonstrations"]
    return {key: value for key, value in values.items() if value is not None or key not in OPTIONS}


def _training(study: Study) -> dict[str, object]:
    """Reinforcement learning without rewards, without alarms, without a schedule that changes nothing, without the
    settings of a trainer that is not in use, without adapters and a choice of groups where there are none, and without
    the local trainer's options that it does not use."""
    unread = {"checkpoint_minutes", "reward", "reasoning"}
    unread |= {key for key in ("lora", "filter_groups") if getattr(study.training, key) is None}
    unread |= {"lr_scheduler_type", "min_lr_ratio"} if study.training.lr_scheduler_type == "constant" else set()
    values: dict[str, object] = study.training.model_dump(mode="json", exclude=unread)
    if study.training.backend == "verl":
        # Alarms as if they were the default ones, so that trainings from before they were left out stay as they are.
        settings = study.training.verl.model_copy(update={"health": HealthLimits()})
        idle = {"mode"} if settings.mode == "sync" else set()
        verl = {"verl": settings.model_dump(mode="json", exclude=idle)}
        return {key: value for key, value in values.items() if key != "local"} | verl
    unused = {"verl", "local", *(key for key, value in LOSS_OPTIONS.items() if values[key] == value)}
    return {key: value for key, value in values.items() if key not in unused} | _local(study.training.local)


def _local(settings: LocalUpdates) -> dict[str, object]:
    """What a trainer in one process has beside the settings of all, under its key, or nothing: keys of its validation
    where it validates, and others that are not at their defaults."""
    values: dict[str, object] = settings.model_dump(mode="json")
    validates = isinstance(settings, LocalTraining) and settings.validation_questions > 0
    fields = type(settings).model_fields
    used = {
        key: value
        for key, value in values.items()
        if (validates if key in VALIDATION_OPTIONS else value != fields[key].default)
    }
    return {"local": used} if used else {}


def _warm_start(study: Study) -> dict[str, object]:
    """Supervised training on scripts, without options that it does not use."""
    values: dict[str, object] = study.warm_start.model_dump(mode="json", exclude={"local"})
    used = {key: value for key, value in values.items() if key not in WARM_START_OPTIONS or value is not None}
    return used | _local(study.warm_start.local)


def _sft(study: Study, method: str) -> dict[str, object]:
    """Supervised training; where the policy samples what it imitates, with the generator and what runs together."""
    train, used = study.methods[method].train, study.sft
    unread, local = {"local"}, {} if used.backend == "verl" else _local(used.local)
    if train is None or train.demonstrations != "self_generated":
        return used.model_dump(mode="json", exclude=unread | {"samples", "temperature", "top_p"}) | local
    return used.model_dump(mode="json", exclude=unread) | local | {"sampling": digest(_generation(study))}


def _generation(study: Study) -> dict[str, object]:
    """How many meta-episodes run together, and what of the generator changes what they say."""
    generator = study.evaluation.generator.model_dump(
        mode="json", include={"kind", "dtype", "tensor_parallel", "deadline_seconds"}
    )
    return {"concurrency": study.evaluation.concurrency, "generator": generator}


def _evaluation(study: Study) -> dict[str, object]:
    """Decoding, concurrency, and what of the generator can change records: of this process, only its deadline."""
    generator = study.evaluation.generator
    used = {"kind", "deadline_seconds"} if generator.kind == "torch" else None
    values: dict[str, object] = study.evaluation.model_dump(mode="json", exclude={"share_policy"})
    return values | {"generator": generator.model_dump(mode="json", include=used)}


def _protocol(study: Study, method: str | None = None) -> dict[str, object]:
    """The protocol without the prompts that the method, or else every method, can do without."""
    procedure = study.methods[method].procedure if method else "meta_episode"
    used = PROMPTS.get(procedure, ())
    installed = procedure not in PROCEDURES.built_in  # it may read any of them
    excluded = {prompt for prompts in PROMPTS.values() for prompt in prompts if prompt not in used and not installed}
    return study.protocol.model_dump(mode="json", exclude={"prompts": excluded})


def _search(study: Study) -> dict[str, object]:
    """The retriever in use, and those below it that no index stands for: an index that changes is a newer file."""
    retrieval = study.retrieval
    retrievers = retrieval.retrievers[retrieval.use].model_dump(mode="json")
    values = {"retriever": retrievers, "topk": retrieval.topk, "max_failure_rate": retrieval.client.max_failure_rate}
    below = [retrieval.retrievers[name] for name in study.reached(retrieval.use)[1:]]
    without_index = [settings.model_dump(mode="json") for settings in below if not settings.indexed]
    return values | ({"below": without_index} if without_index else {})
