# Downloads, questions and passages.


# Compute nodes may have no way out, so this runs where Snakemake runs. What arrived waits beside the output.
rule download_registered:
    output:
        directory(LAYOUT.downloads / "{registered}"),
    log:
        LAYOUT.log("downloads/{registered}"),
    localrule: True
    conda:
        "../envs/cpu.yaml"
    params:
        row=lambda wildcards: REGISTERED[wildcards.registered],
        mirror=download_options,
    message:
        "Download: {wildcards.registered}"
    shell:
        "mrsearch data download --row {params.row} {params.mirror:q} --out {output:q} 2> {log:q}"


rule questions:
    input:
        question_inputs,
    output:
        LAYOUT.questions("{dataset}"),
    log:
        LAYOUT.log("data/{dataset}"),
    benchmark:
        LAYOUT.timing("data/{dataset}")
    conda:
        "../envs/cpu.yaml"
    threads: RESOURCES.stage("data").threads
    resources:
        **RESOURCES.of("data"),
    params:
        study=STUDY_FILE,
        settings=lambda wildcards: stages.questions(STUDY, wildcards.dataset),
        downloads=str(LAYOUT.downloads),
    message:
        "Questions: {wildcards.dataset}"
    shell:
        "mrsearch data questions --study {params.study:q} --dataset {wildcards.dataset}"
        " --downloads {params.downloads:q} --out {output:q} 2> {log:q}"


rule overlap:
    input:
        question_files(),
        LAYOUT.questions("train"),
    output:
        LAYOUT.overlap,
    log:
        LAYOUT.log("data/overlap"),
    conda:
        "../envs/cpu.yaml"
    threads: RESOURCES.stage("data").threads
    resources:
        **RESOURCES.of("data"),
    params:
        study=STUDY_FILE,
        questions=lambda wildcards, input: str(Path(input[0]).parent),
    message:
        "Questions that training shares with the benchmarks"
    shell:
        "mrsearch data overlap --study {params.study:q} --questions {params.questions:q} --out {output:q} 2> {log:q}"


rule corpus:
    input:
        corpus_inputs(),
    output:
        directory(LAYOUT.corpus),
    log:
        LAYOUT.log("corpus"),
    benchmark:
        LAYOUT.timing("corpus")
    conda:
        "../envs/cpu.yaml"
    threads: RESOURCES.stage("data").threads
    resources:
        **RESOURCES.of("data"),
    params:
        study=STUDY_FILE,
        settings=stages.corpus(STUDY),
        downloads=str(LAYOUT.downloads),
    message:
        "Passages"
    shell:
        "mrsearch data corpus --study {params.study:q} --downloads {params.downloads:q} --out {output:q} 2> {log:q}"
