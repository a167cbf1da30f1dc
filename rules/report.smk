# Scores, tables and figures.


rule metrics:
    input:
        evaluated_files(LAYOUT.score_files),
    output:
        scores=LAYOUT.scores,
        metrics=LAYOUT.metrics,
    log:
        LAYOUT.log("report/metrics"),
    benchmark:
        LAYOUT.timing("report/metrics")
    conda:
        "../envs/cpu.yaml"
    threads: RESOURCES.stage("report").threads
    resources:
        **RESOURCES.of("report"),
    params:
        study=STUDY_FILE,
        settings=stages.report(STUDY),
        records=lambda wildcards: str(LAYOUT.evaluations),
    message:
        "Scores and metrics"
    shell:
        "mrsearch report metrics --study {params.study:q} --records {params.records:q} --scores {output.scores:q}"
        " --out {output.metrics:q} 2> {log:q}"


rule tables:
    input:
        metrics=LAYOUT.metrics,
    output:
        shown_tables(contents.computed(TABLES)),
    log:
        LAYOUT.log("report/tables"),
    conda:
        "../envs/cpu.yaml"
    threads: RESOURCES.stage("report").threads
    resources:
        **RESOURCES.of("report"),
    params:
        study=STUDY_FILE,
        settings=stages.report(STUDY),
        out=lambda wildcards, output: str(Path(output[0]).parent),
    message:
        "Tables"
    shell:
        "mrsearch report tables --study {params.study:q} --metrics {input.metrics:q} --out {params.out:q} 2> {log:q}"


rule figures:
    input:
        metrics=LAYOUT.metrics,
        logs=trained_files(LAYOUT.train_log),
    output:
        shown_figures(contents.computed(FIGURES)),
    log:
        LAYOUT.log("report/figures"),
    conda:
        "../envs/cpu.yaml"
    threads: RESOURCES.stage("report").threads
    resources:
        **RESOURCES.of("report"),
    params:
        study=STUDY_FILE,
        settings=stages.report(STUDY),
        models=lambda wildcards: str(LAYOUT.models),
        out=lambda wildcards, output: str(Path(output[0]).parent),
    message:
        "Figures"
    shell:
        "mrsearch report figures --study {params.study:q} --metrics {input.metrics:q} --models {params.models:q}"
        " --out {params.out:q} 2> {log:q}"


if contents.RETRIEVAL in FIGURES:

    # Drawn from measured times, which differ from run to run.
    rule retrieval_figure:
        input:
            quality=LAYOUT.retrieval_report("csv"),
        output:
            shown_figures([contents.RETRIEVAL]),
        log:
            LAYOUT.log("report/retrieval"),
        conda:
            "../envs/cpu.yaml"
        threads: RESOURCES.stage("report").threads
        resources:
            **RESOURCES.of("report"),
        params:
            study=STUDY_FILE,
            settings=f"{stages.retrieval(STUDY)} top {STUDY.retrieval.topk}",
            out=lambda wildcards, output: str(Path(output[0]).parent),
        message:
            "Figure of retrieval"
        shell:
            "mrsearch report retrieval --study {params.study:q} --quality {input.quality:q} --out {params.out:q} 2> {log:q}"


# Measurements are no outputs, so their jobs' outputs are the input. They differ from run to run; other tables do not.
rule compute:
    input:
        LAYOUT.metrics,
        trained_files(LAYOUT.training_record),
        evaluated_files(LAYOUT.evaluation_files),
    output:
        shown_tables([contents.COMPUTE]),
    log:
        LAYOUT.log("report/compute"),
    conda:
        "../envs/cpu.yaml"
    threads: RESOURCES.stage("report").threads
    resources:
        **RESOURCES.of("report"),
    params:
        study=STUDY_FILE,
        settings=stages.report(STUDY),
        results=lambda wildcards: str(LAYOUT.root),
        out=lambda wildcards, output: str(Path(output[0]).parent),
    message:
        "Time and hardware"
    shell:
        "mrsearch report compute --study {params.study:q} --results {params.results:q} --out {params.out:q} 2> {log:q}"


# A training keeps some of its groups beside its outputs.
rule viewer:
    input:
        evaluated_files(LAYOUT.record_files),
        evaluated_files(LAYOUT.score_files),
        trained_files(LAYOUT.training_record),
    output:
        directory(LAYOUT.viewer),
    log:
        LAYOUT.log("report/viewer"),
    conda:
        "../envs/cpu.yaml"
    threads: RESOURCES.stage("report").threads
    resources:
        **RESOURCES.of("report"),
    params:
        study=STUDY_FILE,
        settings=stages.report(STUDY),
        records=lambda wildcards: str(LAYOUT.evaluations),
        models=lambda wildcards: str(LAYOUT.models),
    message:
        "Viewer"
    shell:
        "mrsearch report viewer --study {params.study:q} --records {params.records:q} --models {params.models:q}"
        " --out {output:q} 2> {log:q}"
