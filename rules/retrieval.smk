# Indexes, and the retrieval server while somebody needs it.


rule index:
    input:
        corpus=LAYOUT.corpus,
        published=index_download,
    output:
        directory(LAYOUT.index("{retriever}")),
    log:
        LAYOUT.log("index/{retriever}"),
    benchmark:
        LAYOUT.timing("index/{retriever}")
    conda:
        "../envs/cpu.yaml"
    threads: RESOURCES.stage("index").threads
    resources:
        **RESOURCES.of("index"),
    params:
        study=STUDY_FILE,
        settings=lambda wildcards: stages.index(STUDY, wildcards.retriever),
        action=index_action,
        placement=index_placement,
    message:
        "Index: {wildcards.retriever}"
    shell:
        "mrsearch index {params.action:q} --study {params.study:q} --retriever {wildcards.retriever} --corpus {input.corpus:q}"
        " --out {output:q} {params.placement:q} 2> {log:q}"


# The first start. Jobs that search take the mark as ancient() input, and it stays when the server is stopped: below a
# missing file Snakemake would run every job again, not only those that lack something. Later runs start the server
# before their first job.
rule retriever:
    input:
        corpus=LAYOUT.corpus,
        indexes=lambda wildcards: [LAYOUT.index(member) for member in STUDY.members(wildcards.retriever)],
    output:
        touch(LAYOUT.started("{retriever}")),
    log:
        LAYOUT.log("retriever/{retriever}"),
    localrule: True
    conda:
        "../envs/cpu.yaml"
    resources:
        **RESOURCES.managed("retriever"),
        partition=RESOURCES.partition("retriever"),
    params:
        study=STUDY_FILE,
        indexes=lambda wildcards: str(LAYOUT.indexes),
        placement=untracked(SERVER_OPTIONS),
        endpoint=lambda wildcards: str(LAYOUT.endpoint(wildcards.retriever)),
    message:
        "Retrieval server: {wildcards.retriever} (partition {resources.partition}: {resources.gpus_per_node} GPUs,"
        " {resources.cpus} cores, {resources.mem_mb} MB)"
    shell:
        "mrsearch retriever start --study {params.study:q} --retriever {wildcards.retriever} --corpus {input.corpus:q}"
        " --indexes {params.indexes:q}"
        " {params.placement:q} {params.endpoint:q} 2> {log:q}"


# Measures time, so it has the machine's stage for indexes and its numbers stay out of the tables.
rule retrieval_report:
    input:
        corpus=LAYOUT.corpus,
        indexes=[LAYOUT.index(retriever) for retriever in STUDY.compared()],
        questions=question_files,
    output:
        csv=LAYOUT.retrieval_report("csv"),
        md=LAYOUT.retrieval_report("md"),
    log:
        LAYOUT.log("retriever/report"),
    benchmark:
        LAYOUT.timing("retriever/report")
    conda:
        "../envs/cpu.yaml"
    threads: RESOURCES.stage("index").threads
    resources:
        **RESOURCES.of("index"),
    params:
        study=STUDY_FILE,
        settings=stages.retrieval(STUDY),
        indexes=lambda wildcards: str(LAYOUT.indexes),
        questions=lambda wildcards, input: [part for file in input.questions for part in ("--questions", file)],
    message:
        "Report on retrieval"
    shell:
        "mrsearch index compare --study {params.study:q} --corpus {input.corpus:q} --indexes {params.indexes:q}"
        " {params.questions:q} --out {output.csv:q} --out {output.md:q} 2> {log:q}"
