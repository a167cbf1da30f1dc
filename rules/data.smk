# Questions and passages.


rule questions:
    output:
        LAYOUT.questions("{dataset}"),
    log:
        LAYOUT.log("data/{dataset}"),
    benchmark:
        LAYOUT.timing("data/{dataset}")
    conda:
        "../envs/cpu.yaml"
    threads: RESOURCES.data.threads
    resources:
        mem_mb=RESOURCES.data.mem_mb,
        runtime=RESOURCES.data.runtime,
    params:
        study=STUDY_FILE,
        settings=lambda wildcards: stages.questions(STUDY, wildcards.dataset),
    message:
        "Questions: {wildcards.dataset}"
    shell:
        "mrsearch data questions --study {params.study:q} --dataset {wildcards.dataset} --out {output:q} 2> {log:q}"


rule corpus:
    output:
        directory(LAYOUT.corpus),
    log:
        LAYOUT.log("corpus"),
    benchmark:
        LAYOUT.timing("corpus")
    conda:
        "../envs/cpu.yaml"
    threads: RESOURCES.data.threads
    resources:
        mem_mb=RESOURCES.data.mem_mb,
        runtime=RESOURCES.data.runtime,
    params:
        study=STUDY_FILE,
        settings=stages.corpus(STUDY),
    message:
        "Passages"
    shell:
        "mrsearch data corpus --study {params.study:q} --out {output:q} 2> {log:q}"
