# Untrained models, and the training of every method that trains.


rule base_model:
    input:
        model_files,
        corpus=LAYOUT.corpus,
    output:
        directory(LAYOUT.base("{model}")),
    log:
        LAYOUT.log("models/{model}/base"),
    benchmark:
        LAYOUT.timing("models/{model}/base")
    conda:
        "../envs/cpu.yaml"
    threads: RESOURCES.stage("data").threads
    resources:
        **RESOURCES.of("data"),
    params:
        study=STUDY_FILE,
        settings=lambda wildcards: stages.base_model(STUDY, wildcards.model),
    message:
        "Untrained model: {wildcards.model}"
    shell:
        "mrsearch model base --study {params.study:q} --model {wildcards.model} --corpus {input.corpus:q}"
        " --out {output:q} 2> {log:q}"


# Compute nodes may have no way out, so this runs where Snakemake runs.
rule download_model:
    output:
        directory(LAYOUT.published / "{download}"),
    log:
        LAYOUT.log("models/{download}"),
    localrule: True
    conda:
        "../envs/cpu.yaml"
    params:
        study=STUDY_FILE,
        model=lambda wildcards: DOWNLOADS[wildcards.download],
        mirror=untracked(MIRROR_OPTION),
    message:
        "Download: {wildcards.download}"
    shell:
        "mrsearch model base --study {params.study:q} --model {params.model} {params.mirror:q} --out {output:q}"
        " 2> {log:q}"


# Its command submits one job, or attaches to the one that runs, and waits for it.
rule train:
    input:
        start=start_folder,
        questions=LAYOUT.questions("train"),
        corpus=LAYOUT.corpus,
        indexes=method_indexes,
        retriever=ancient(method_started),
    output:
        model=directory(LAYOUT.model("{model}", "{method}", "{seed}")),
        log=LAYOUT.train_log("{model}", "{method}", "{seed}"),
        run=LAYOUT.training_record("{model}", "{method}", "{seed}"),
    log:
        LAYOUT.log(LAYOUT.training_job("{model}", "{method}", "{seed}")),
    benchmark:
        LAYOUT.timing(LAYOUT.training_job("{model}", "{method}", "{seed}"))
    # Before evaluations that are ready: the longest jobs decide when a run ends.
    priority: 1
    # The job is put back into the queue by itself; what fails in it fails again.
    retries: 0
    localrule: True
    conda:
        "../envs/cpu.yaml"
    threads: lambda wildcards: RESOURCES.threads(training_stage(wildcards))
    resources:
        mem_mb=training_resource("mem_mb"),
        runtime=training_resource("runtime"),
        cpus=training_resource("cpus"),
        nodes=training_resource("nodes"),
        gpus_per_node=training_resource("gpus_per_node"),
        gpu=lambda wildcards: RESOURCES.gpus_here(training_stage(wildcards)),
        partition=lambda wildcards: RESOURCES.partition(training_stage(wildcards)),
    params:
        study=STUDY_FILE,
        settings=lambda wildcards: stages.train(STUDY, wildcards.model, wildcards.method),
        indexes=lambda wildcards: str(LAYOUT.indexes),
        endpoint=method_endpoint,
        scratch=lambda wildcards: str(scratch_folder(wildcards)),
        placement=untracked(
            [*RESOURCES.scheduler_options, *ENVIRONMENTS, "--train-environment", RUN.paths.train_environment]
        ),
    message:
        "Training: {wildcards.method} on {wildcards.model}, seed {wildcards.seed} (partition {resources.partition}:"
        " {resources.nodes} nodes x {resources.gpus_per_node} GPUs, {resources.cpus} cores, {resources.mem_mb} MB,"
        " {resources.runtime} min)"
    shell:
        "mrsearch train --study {params.study:q} --model {wildcards.model} --method {wildcards.method}"
        " --seed {wildcards.seed} --start {input.start:q} --questions {input.questions:q} --corpus {input.corpus:q}"
        " --indexes {params.indexes:q} {params.endpoint:q} --out {output.model:q} --log {output.log:q}"
        " --run {output.run:q} --run-dir {params.scratch:q} {params.placement:q} --threads {resources.cpus}"
        " --mem-mb {resources.mem_mb} --runtime {resources.runtime} --nodes {resources.nodes}"
        " --gpus {resources.gpus_per_node} 2> {log:q}"
