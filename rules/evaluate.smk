# Every method on every benchmark. One job runs a method on all of them, so that its model is loaded once; where the study
# shares policies, a job runs all methods that one policy serves.


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
    wildcard_constraints:
        method=any_of(EVALUATED_ALONE),
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


# A rule for each such group: its outputs are the files of all its methods. Those that are finished stay (`update`), and
# the command leaves them alone, so that another method, or other settings of one, make no other's files anew.
for methods in EVALUATED_TOGETHER:

    rule:
        name:
            f"evaluate_{methods[0]}"
        input:
            policy=policy_of(methods[0]),
            questions=question_files,
            corpus=LAYOUT.corpus,
            indexes=indexes_of(methods),
            retriever=ancient(started_for(methods)),
        output:
            update([file for name in methods for file in LAYOUT.evaluation_files("{model}", name, "{seed}")]),
        log:
            LAYOUT.log(LAYOUT.evaluation_job("{model}", methods[0], "{seed}")),
        benchmark:
            LAYOUT.timing(LAYOUT.evaluation_job("{model}", methods[0], "{seed}"))
        conda:
            "../envs/cpu.yaml"
        threads: RESOURCES.stage("evaluate").threads
        resources:
            **RESOURCES.of("evaluate"),
        params:
            study=STUDY_FILE,
            settings=[stages.evaluate(STUDY, name) for name in methods],
            methods=[f"--method={name}" for name in methods],
            questions=lambda wildcards, input: str(Path(input.questions[0]).parent),
            indexes=lambda wildcards: str(LAYOUT.indexes),
            endpoints=endpoints_of(methods),
            outs=for_each(methods, "out", LAYOUT.records),
            placement=untracked([*ENVIRONMENTS, *RESOURCES.site]),
            caches=for_each(methods, "cache", LAYOUT.cache),
        message:
            f"Evaluation: {', '.join(methods)} on {{wildcards.model}}, seed {{wildcards.seed}}"
        shell:
            "mrsearch evaluate --study {params.study:q} --model {wildcards.model} {params.methods:q}"
            " --seed {wildcards.seed} --policy {input.policy:q} --questions {params.questions:q}"
            " --corpus {input.corpus:q} --indexes {params.indexes:q} {params.endpoints:q} {params.outs:q}"
            " {params.caches:q} {params.placement:q} 2> {log:q}"
