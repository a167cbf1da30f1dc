# The study, and everything that rules compute from it: legal wildcards, input functions, the retriever's life.
import os
import re
import subprocess
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from mrsearch.cluster.asking import Asking
from mrsearch.cluster.commands import run_to_the_end
from mrsearch.config import ConfigError, load_run, load_study, stages, write_study
from mrsearch.config.layout import Layout, published
from mrsearch.data import registry
from mrsearch.reporting.reported import tables_for
from mrsearch.preflight.checks import preflight
from mrsearch.retrieval.files import ServiceFiles

# The commands of this interpreter's environment come first, activated or not; an environment that Snakemake deploys
# still goes before them.
os.environ |= {"PATH": os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()])}

try:
    RUN = load_run(config)
    STUDY = load_study(RUN)
    ASKED = Asking(RUN, STUDY)
except ConfigError as error:
    raise WorkflowError(f"The configuration cannot be used.\n{error}") from None

LAYOUT = Layout(RUN, STUDY)
STUDY_FILE = str(LAYOUT.study)
if ASKED.prefix:
    shell.prefix(ASKED.prefix)
TRAINED = [name for name, method in STUDY.methods.items() if method.train]
DOWNLOADS = {published(model): name for name, model in STUDY.models.items() if model.kind == "hub"}
REGISTERED = {row.folder: row.name for row in registry.downloads_of(STUDY)}
MIRROR_OPTION = ["--mirror", RUN.paths.mirror] if RUN.paths.mirror else []
INDEXES = [LAYOUT.index(retriever) for retriever in STUDY.indexed()]
TOKEN = LAYOUT.token(STUDY.retrieval.use)
SERVED = STUDY.retrieval.service.mode == "http"
STARTED = LAYOUT.started(STUDY.retrieval.use)
RETRIEVER = ancient(STARTED) if SERVED else []
TRAIN_ENVIRONMENT = ["--train-environment", RUN.paths.train_environment]
ENDPOINT_OPTION = ["--endpoint", str(TOKEN)] if SERVED else []

TABLE_KINDS = ("html", "csv", "md", "tex")
TABLES = {"main": "EM", "f1": "F1", "episodes": "By episode", "cost": "Cost"}
if not all(benchmark.average for benchmark in STUDY.benchmarks.values()):
    TABLES["extra"] = "Outside the mean"
BESIDE_PAPERS = tables_for(STUDY)
TABLES |= BESIDE_PAPERS
FIGURE_KINDS = ("svg", "pdf", "png", "csv")
FIGURES = {
    "improvement": "Relative improvement",
    "episodes": "EM by episode",
    "changes": "Corrected and corrupted",
    "pareto": "Accuracy against tokens",
    "training": "Training curves",
}
if STUDY.report.scaling:
    TABLES["scaling"] = "Test-time scaling"
    FIGURES["scaling"] = "Test-time scaling"
MEASURED_FIGURES = {"retrieval": "Retrieval: recall against latency"} if STUDY.retrieval.compared else {}


def any_of(names):
    """Pattern of a wildcard's legal values; where there are none, it matches nothing."""
    return "|".join(re.escape(str(name)) for name in names) or "(?!)"


def untracked(value):
    """A parameter that may change without running anything again: functions of resources are not compared."""
    return lambda wildcards, resources: value


wildcard_constraints:
    dataset=any_of(["train", *STUDY.benchmarks]),
    retriever=any_of(STUDY.retrieval.retrievers),
    model=any_of(STUDY.models),
    download=any_of(DOWNLOADS),
    registered=any_of(REGISTERED),
    method=any_of(STUDY.methods),
    seed=any_of(STUDY.seeds),


def registered_folders(*rows):
    """Folders of verified downloads."""
    return [LAYOUT.downloads / row.folder for row in rows]


def question_downloads(wildcards):
    """What a table of published questions is made from; a training set without overlap needs the benchmarks too."""
    if STUDY.data.kind != "hub":
        return []
    wanted = [wildcards.dataset]
    if wildcards.dataset == "train" and STUDY.data.drop_overlap:
        wanted += STUDY.benchmarks
    return registered_folders(*[registry.questions_row(STUDY, dataset) for dataset in wanted])


def corpus_download(wildcards=None):
    """The published corpus."""
    return registered_folders(registry.row(STUDY.data.corpus, "corpus")) if STUDY.data.kind == "hub" else []


def index_download(wildcards):
    """The published index that serves a retriever, and its published encoder."""
    rows = registry.prebuilt_index(STUDY, wildcards.retriever), registry.encoder(STUDY, wildcards.retriever)
    return registered_folders(*filter(None, rows))


def index_action(wildcards):
    """How a retriever's index comes about."""
    action = "import" if registry.prebuilt_index(STUDY, wildcards.retriever) else "build"
    return [action, *(["--downloads", str(LAYOUT.downloads)] if index_download(wildcards) else [])]


def question_files(wildcards=None):
    """The benchmarks' tables."""
    return [LAYOUT.questions(benchmark) for benchmark in STUDY.benchmarks]


def trained_files(name):
    """The file or folder `name` of every trained method, model and seed."""
    pattern = str(LAYOUT.trained("{model}", "{method}", "{seed}") / name)
    return expand(pattern, model=STUDY.models, method=TRAINED, seed=STUDY.seeds)


def data_files():
    """Questions and passages, and what published training questions share with the benchmarks."""
    return [*question_files(), LAYOUT.corpus, *overlap_files()]


def overlap_files():
    """What a published training set shares with the benchmarks; the other sources have no question in both."""
    return [LAYOUT.root / "data" / "overlap.json"] if STUDY.data.kind == "hub" and TRAINED else []


def record_files(wildcards=None):
    """What all evaluations write."""
    jobs = [(model, method, seed) for model in STUDY.models for method in STUDY.methods for seed in STUDY.seeds]
    return [file for job in jobs for file in LAYOUT.record_files(*job)]


def policy_folder(wildcards):
    """The weights that run a method."""
    return LAYOUT.policy(wildcards.model, wildcards.method, wildcards.seed)


def start_folder(wildcards):
    """The weights that a training starts from."""
    return LAYOUT.start(wildcards.model, wildcards.method, wildcards.seed)


def report_files(wildcards=None):
    """Tables, figures, the viewer, and the questions that training shares with the benchmarks."""
    tables = [LAYOUT.root / "tables" / f"{name}.{kind}" for name in [*TABLES, "compute"] for kind in TABLE_KINDS]
    figures = [
        LAYOUT.root / "figures" / f"{name}.{kind}" for name in [*FIGURES, *MEASURED_FIGURES] for kind in FIGURE_KINDS
    ]
    retrieval = [LAYOUT.retrieval_report(kind) for kind in ("csv", "md") if STUDY.retrieval.compared]
    return [*tables, *figures, *retrieval, LAYOUT.root / "viewer", *overlap_files()]


def scratch_folder(wildcards):
    """Where a training keeps its checkpoints; other settings get another folder, so that none are mixed."""
    settings = stages.train(STUDY, wildcards.model, wildcards.method)
    return LAYOUT.scratch(wildcards.model, wildcards.method, wildcards.seed) / settings


def training_stage(wildcards):
    """Whose resources a training takes."""
    return STUDY.training_stage(wildcards.method)


def training_resource(name):
    """One of the resources of a training's job, as a function of its wildcards."""
    return lambda wildcards: ASKED.managed(training_stage(wildcards))[name]


def begin():
    """Write the study down and start what its jobs need. On a cluster, first name everything that would stop the run,
    before a job is submitted."""
    if RUN.scheduler == "slurm" and (problems := preflight(RUN, STUDY)):
        raise WorkflowError("\n".join(["The run was not started:", *problems]))
    write_study(STUDY, LAYOUT.study)
    start_retriever()


def start_retriever():
    """Start the server for jobs that wait for it, unless its rule is about to do so."""
    waiting = list(workflow.dag.needrun_jobs())
    if any(job.rule.name == "retriever" for job in waiting):
        return
    if SERVED and any(str(STARTED) in job.input for job in waiting):
        logger.info(f"Retrieval server: {STUDY.retrieval.use}")
        places = ["--study", STUDY_FILE, "--corpus", str(LAYOUT.corpus), "--indexes", str(LAYOUT.indexes)]
        log = LAYOUT.log(f"retriever/{STUDY.retrieval.use}")
        if run_to_the_end(["mrsearch", "retriever", "start", *places, *ASKED.placement, str(TOKEN)], log):
            raise WorkflowError(f"The retrieval server did not start; {log} says why.")


def stop_retriever():
    """Nothing stays behind, whether the run succeeded or failed."""
    if SERVED and ServiceFiles(TOKEN).state.exists():
        subprocess.run(["mrsearch", "retriever", "stop", str(TOKEN)])
