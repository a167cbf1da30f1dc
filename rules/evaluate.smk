# Every method on every benchmark. One job runs a method on all of them, so that its model is loaded once.


rule evaluate:
    input:
        policy=policy_folder,
        questions=question_files,
        corpus=LAYOUT.corpus,
        indexes=method_indexes,
        retriever=ancient(method_started),
    output:
        LAYOUT.evaluation_files("{model}", "{method}", "{seed}"),
    log:
        LAYOUT.log(LAYOUT.evaluation_job("{model}", "{method}", "{seed}")),
    benchmark:
        LAYOUT.timing(LAYOUT.evaluation_job("{model}", "{method}", "{seed}"))
    conda:
        "../envs/cpu.yaml"
    threads: RESOURCES.stage("evaluate").threads
    resources:
        **RESOURCES.of("evaluate"),
    params:
        study=STUDY_FILE,
        settings=lambda wildcards: stages.evaluate(STUDY, wildcards.method),
        questions=lambda wildcards, input: str(Path(input.questions[0]).parent),
        indexes=lambda wildcards: str(LAYOUT.indexes),
        endpoint=method_endpoint,
        out=lambda wildcards, output: str(Path(output[0]).parent),
        placement=untracked([*ENVIRONMENTS, *RESOURCES.site]),
        cache=lambda wildcards: str(LAYOUT.cache(wildcards.model, wildcards.method, wildcards.seed)),
    message:
        "Evaluation: {wildcards.method} on {wildcards.model}, seed {wildcards.seed}"
    shell:
        "mrsearch evaluate --study {params.study:q} --model {wildcards.model} --method {wildcards.method}"
        " --seed {wildcards.seed} --policy {input.policy:q} --questions {params.questions:q} --corpus {input.corpus:q}"
        " --indexes {params.indexes:q} {params.endpoint:q} --out {params.out:q} --cache {params.cache:q}"
        " {params.placement:q} 2> {log:q}"
