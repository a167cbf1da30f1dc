# The pipeline, in the order in which it runs. What a rule computes lives in src/mrsearch/.
from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "rules/common.smk"
include: "rules/service.smk"
include: "rules/data.smk"
include: "rules/retrieval.smk"
include: "rules/train.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        report_files(),
    message:
        "Study complete"


rule data:
    input:
        data_files(),


rule indexes:
    input:
        INDEXES,


rule models:
    input:
        trained_files(LAYOUT.model),


rule evaluations:
    input:
        evaluated_files(LAYOUT.evaluation_files),


onstart:
    begin()


onsuccess:
    stop_retrievers()


onerror:
    stop_retrievers()
