# The study, and everything that rules compute from it: legal wildcards, input functions, the retriever's life.
import os
import re
import subprocess
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.io import report as in_report

from mrsearch.cluster.resources import JobResources
from mrsearch.cluster.commands import run_to_the_end
from mrsearch.config import ConfigError, check_folders, load_run, load_study, stages, write_study
from mrsearch.config.layout import Layout, published
from mrsearch.config.shared_policies import shared_policies
from mrsearch.data import folder, registry
from mrsearch.data.questions import sources
from mrsearch.reporting import contents
from mrsearch.preflight.checks import preflight
from mrsearch.retrieval.service.files import ServiceFiles

# The commands of this interpreter's environment come first, activated or not; an environment that Snakemake deploys
# still goes before them.
os.environ |= {"PATH": os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()])}

try:
    RUN = load_run(config)
    check_folders(RUN)
    STUDY = load_study(RUN)
    RESOURCES = JobResources(RUN, STUDY)
except ConfigError as error:
    raise WorkflowError(f"The configuration cannot be used.\n{error}") from None

LAYOUT = Layout(RUN, STUDY)
STUDY_FILE = str(LAYOUT.study)
if RESOURCES.prefix:
    shell.prefix(RESOURCES.prefix)
TRAINED = [name for name, method in STUDY.methods.items() if method.train]
DOWNLOADS = {published(model): name for name, model in STUDY.models.items() if model.kind == "hub"}
try:
    # What a study declares goes by its folder, so that studies which name it differently share the download.
    REGISTERED = {row.folder: row.folder if row.declared else row.name for row in registry.downloads_of(STUDY)}
    DECLARED = {row.folder for row in registry.downloads_of(STUDY) if row.declared}
except ValueError as error:
    raise WorkflowError(f"The configuration cannot be used.\n{error}") from None
MIRROR_OPTION = ["--mirror", RUN.paths.mirror] if RUN.paths.mirror and "@" not in RUN.paths.mirror else []
if RUN.paths.mirror:
    # Not by the command line, which other users, logs and metadata show: an address may hold a password.
    os.environ |= {"MRSEARCH_MIRROR": RUN.paths.mirror}
EVALUATED_TOGETHER = [methods for methods in shared_policies(STUDY) if len(methods) > 1]
EVALUATED_ALONE = [methods[0] for methods in shared_policies(STUDY) if len(methods) == 1]
INDEXES = [LAYOUT.index(retriever) for retriever in STUDY.indexed()]
SERVED = STUDY.served()
ENVIRONMENTS = ["--gpu-environment", RUN.paths.gpu_environment]
SERVER_OPTIONS = [
    *RESOURCES.scheduler_options,
    *ENVIRONMENTS,
    *(["--retriever-environment", RUN.paths.retriever_environment] if RUN.paths.retriever_environment else []),
]

TABLES = contents.tables(STUDY)
FIGURES = contents.figures(STUDY)


def any_of(names):
    """Pattern of a wildcard's legal values; where there are none, it matches nothing."""
    return "|".join(re.escape(str(name)) for name in names) or "(?!)"


def untracked(value):
    """A parameter that may change without running anything again: functions of resources are not compared."""
    return lambda wildcards, resources: value


if RUN.scheduler == "slurm" and workflow.is_main_process:
    from mrsearch.cluster import executor

    executor.install(RESOURCES.max_requeues)


wildcard_constraints:
    dataset=any_of(["train", *STUDY.benchmarks]),
    retriever=any_of(STUDY.retrieval.retrievers),
    model=any_of(STUDY.models),
    download=any_of(DOWNLOADS),
    registered=any_of(REGISTERED),
    method=any_of(STUDY.methods),
    seed=any_of(STUDY.seeds),


def download_options(wildcards, resources):
    """Where a row comes from, and the study of one that it declares; untracked, as functions of resources are."""
    return [*MIRROR_OPTION, *(["--study", STUDY_FILE] if wildcards.registered in DECLARED else [])]


def registered_folders(*rows):
    """Folders of verified downloads."""
    return [LAYOUT.downloads / row.folder for row in rows]


def question_inputs(wildcards):
    """What a table of questions is made from; a training set without overlap needs the benchmarks too."""
    if STUDY.data.kind == "world":
        return []
    wanted = [wildcards.dataset]
    if wildcards.dataset == "train" and STUDY.data.drop_overlap:
        wanted += STUDY.benchmarks
    if STUDY.data.kind == "hub":
        return registered_folders(*[registry.questions_row(STUDY, dataset) for dataset in wanted])
    names = [
        STUDY.benchmarks[dataset].source or dataset if dataset in STUDY.benchmarks else dataset for dataset in wanted
    ]
    return present(folder.question_files(STUDY.data, names).values())


def corpus_inputs(wildcards=None):
    """The published corpus, or the files of a folder's."""
    if STUDY.data.kind == "world":
        return []
    if STUDY.data.kind == "hub":
        return registered_folders(registry.study_row(STUDY, STUDY.data.corpus, "corpus"))
    return present(folder.passage_files(STUDY.data, sources(STUDY)))


def present(files):
    """The files that are there; the others stop a run before it begins, with a better message than Snakemake's."""
    return [file for file in files if file.is_file()]


def index_download(wildcards):
    """The published index that serves a retriever, and its published encoder."""
    rows = registry.prebuilt_index(STUDY, wildcards.retriever), registry.encoder(STUDY, wildcards.retriever)
    return registered_folders(*filter(None, rows))


def index_action(wildcards):
    """How a retriever's index comes about."""
    action = "import" if registry.prebuilt_index(STUDY, wildcards.retriever) else "build"
    return [action, *(["--downloads", str(LAYOUT.downloads)] if index_download(wildcards) else [])]


def index_placement(wildcards, resources):
    """Where an index is built that is not taken over; untracked, as functions of resources are."""
    return [] if index_action(wildcards)[0] == "import" else [*ENVIRONMENTS, *RESOURCES.site]


def model_files(wildcards):
    """What shows that a folder's model is another than before."""
    model = STUDY.models[wildcards.model]
    return present([Path(model.path) / "config.json"]) if model.kind == "folder" else []


def indexes_of(methods):
    """Indexes that the searches of these methods need."""
    return [LAYOUT.index(retriever) for retriever in unique(map(STUDY.index_of, methods))]


def started_for(methods):
    """The marks of the servers that these methods search with."""
    retrievers = unique([STUDY.retriever_of(method)] for method in methods)
    return [LAYOUT.started(retriever) for retriever in retrievers if retriever in SERVED]


def endpoints_of(methods):
    """Where each of these methods finds its server, where it has one."""
    retrievers = [STUDY.retriever_of(method) for method in methods]
    endpoints = [str(LAYOUT.endpoint(retriever)) for retriever in retrievers if retriever in SERVED]
    return [word for endpoint in endpoints for word in ("--endpoint", endpoint)]


def unique(lists):
    """What stands in the lists, each once."""
    return list(dict.fromkeys(item for items in lists for item in items))


def method_indexes(wildcards):
    """Indexes that a method's searches need."""
    return indexes_of([wildcards.method])


def method_started(wildcards):
    """The mark of the server that a method searches with, where it has one."""
    return started_for([wildcards.method])


def method_endpoint(wildcards):
    """Where a method finds its server, where it has one."""
    return endpoints_of([wildcards.method])


def policy_of(method):
    """The weights that run a method, as a function of its job's other wildcards."""
    return lambda wildcards: LAYOUT.policy(wildcards.model, method, wildcards.seed)


def for_each(methods, option, folder):
    """An option once for each of these methods, with the folder of each; as a function of their job's wildcards."""
    return lambda wildcards: [f"--{option}={folder(wildcards.model, name, wildcards.seed)}" for name in methods]


def question_files(wildcards=None):
    """The benchmarks' tables."""
    return [LAYOUT.questions(benchmark) for benchmark in STUDY.benchmarks]


def trained_files(place):
    """One file or folder of every trained method, model and seed; `place` says where it lies."""
    pattern = str(place("{model}", "{method}", "{seed}"))
    return expand(pattern, model=STUDY.models, method=TRAINED, seed=STUDY.seeds)


def data_files():
    """Questions and passages, and what training questions share with the benchmarks."""
    return [*question_files(), LAYOUT.corpus, *overlap_files()]


def overlap_files():
    """What a training set shares with the benchmarks; the synthetic world has no question in both."""
    return [LAYOUT.overlap] if STUDY.data.kind != "world" and TRAINED else []


def evaluated_files(files):
    """What all evaluations write; `files` says which of one evaluation's files are meant."""
    jobs = [(model, method, seed) for model in STUDY.models for method in STUDY.methods for seed in STUDY.seeds]
    return [file for job in jobs for file in files(*job)]


def policy_folder(wildcards):
    """The weights that run a method."""
    return LAYOUT.policy(wildcards.model, wildcards.method, wildcards.seed)


def start_folder(wildcards):
    """The weights that a training starts from."""
    return LAYOUT.start(wildcards.model, wildcards.method, wildcards.seed)


def shown_tables(names):
    """Outputs of the rule that makes these tables. First what the report shows, with its captions."""
    return shown(LAYOUT.tables, "Tables", "table", {name: TABLES[name] for name in names}, contents.TABLE_KINDS)


def shown_figures(names):
    """Outputs of the rule that draws these figures."""
    return shown(LAYOUT.figures, "Figures", "figure", {name: FIGURES[name] for name in names}, contents.FIGURE_KINDS)


def shown(folder, category, label, items, kinds):
    """The first kind of each item's files for the report, then its other kinds."""
    captioned = [
        in_report(
            folder / f"{name}.{kinds[0]}",
            caption=f"../workflow/report/{item.caption}",
            category=category,
            labels={label: item.title},
        )
        for name, item in items.items()
    ]
    others = [folder / f"{name}.{kind}" for name, item in items.items() for kind in (*kinds[1:], *item.also)]
    return [*captioned, *others]


def report_files(wildcards=None):
    """Tables, figures, the viewer, and the questions that training shares with the benchmarks."""
    tables = [
        LAYOUT.tables / f"{name}.{kind}"
        for name, item in TABLES.items()
        for kind in (*contents.TABLE_KINDS, *item.also)
    ]
    figures = [LAYOUT.figures / f"{name}.{kind}" for name in FIGURES for kind in contents.FIGURE_KINDS]
    retrieval = [LAYOUT.retrieval_report(kind) for kind in ("csv", "md") if STUDY.retrieval.compared]
    return [*tables, *figures, *retrieval, LAYOUT.viewer, *overlap_files()]


def scratch_folder(wildcards):
    """Where a training keeps its checkpoints; other settings get another folder, so that none are mixed."""
    settings = stages.train(STUDY, wildcards.model, wildcards.method)
    return LAYOUT.scratch(wildcards.model, wildcards.method, wildcards.seed) / settings


def training_stage(wildcards):
    """Whose resources a training takes."""
    return STUDY.training_stage(wildcards.method)


def training_resource(name):
    """One of the resources of a training's job, as a function of its wildcards."""
    return lambda wildcards: RESOURCES.managed(training_stage(wildcards))[name]
