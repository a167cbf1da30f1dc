# Scores, tables and figures.


rule metrics:
    input:
        record_files,
    output:
        scores=LAYOUT.root / "scores.parquet",
        metrics=LAYOUT.root / "metrics.parquet",
    log:
        LAYOUT.log("report/metrics"),
    benchmark:
        LAYOUT.timing("report/metrics")
    conda:
        "../envs/cpu.yaml"
    threads: ASKED.stage("report").threads
    resources:
        **ASKED.of("report"),
    params:
        study=STUDY_FILE,
        settings=stages.report(STUDY),
        records=lambda wildcards: str(LAYOUT.root / "eval"),
    message:
        "Scores and metrics"
    shell:
        "mrsearch report metrics --study {params.study:q} --records {params.records:q} --scores {output.scores:q}"
        " --out {output.metrics:q} 2> {log:q}"


rule tables:
    input:
        metrics=LAYOUT.root / "metrics.parquet",
    output:
        [
            report(
                LAYOUT.root / "tables" / f"{table}.html",
                caption=f"../workflow/report/{'paper' if table in BESIDE_PAPERS else table}_table.rst",
                category="Tables",
                labels={"table": title},
            )
            for table, title in TABLES.items()
        ],
        [LAYOUT.root / "tables" / f"{table}.{kind}" for table in TABLES for kind in TABLE_KINDS[1:]],
    log:
        LAYOUT.log("report/tables"),
    conda:
        "../envs/cpu.yaml"
    threads: ASKED.stage("report").threads
    resources:
        **ASKED.of("report"),
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
        metrics=LAYOUT.root / "metrics.parquet",
        logs=trained_files("train.jsonl"),
    output:
        [
            report(
                LAYOUT.root / "figures" / f"{figure}.svg",
                caption=f"../workflow/report/{figure}.rst",
                category="Figures",
                labels={"figure": title},
            )
            for figure, title in FIGURES.items()
        ],
        [LAYOUT.root / "figures" / f"{figure}.{kind}" for figure in FIGURES for kind in FIGURE_KINDS[1:]],
    log:
        LAYOUT.log("report/figures"),
    conda:
        "../envs/cpu.yaml"
    threads: ASKED.stage("report").threads
    resources:
        **ASKED.of("report"),
    params:
        study=STUDY_FILE,
        settings=stages.report(STUDY),
        models=lambda wildcards: str(LAYOUT.root / "models"),
        out=lambda wildcards, output: str(Path(output[0]).parent),
    message:
        "Figures"
    shell:
        "mrsearch report figures --study {params.study:q} --metrics {input.metrics:q} --models {params.models:q}"
        " --out {params.out:q} 2> {log:q}"


# Drawn from measured times, which differ from run to run.
rule retrieval_figure:
    input:
        quality=LAYOUT.retrieval_report("csv"),
    output:
        report(
            LAYOUT.root / "figures" / "retrieval.svg",
            caption="../workflow/report/retrieval.rst",
            category="Figures",
            labels={"figure": "Retrieval: recall against latency"},
        ),
        [LAYOUT.root / "figures" / f"retrieval.{kind}" for kind in FIGURE_KINDS[1:]],
    log:
        LAYOUT.log("report/retrieval"),
    conda:
        "../envs/cpu.yaml"
    threads: ASKED.stage("report").threads
    resources:
        **ASKED.of("report"),
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
        LAYOUT.root / "metrics.parquet",
        trained_files("run.json"),
        record_files(),
    output:
        report(
            LAYOUT.root / "tables" / "compute.html",
            caption="../workflow/report/compute_table.rst",
            category="Tables",
            labels={"table": "Time and hardware"},
        ),
        [LAYOUT.root / "tables" / f"compute.{kind}" for kind in TABLE_KINDS[1:]],
    log:
        LAYOUT.log("report/compute"),
    conda:
        "../envs/cpu.yaml"
    threads: ASKED.stage("report").threads
    resources:
        **ASKED.of("report"),
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
        record_files(),
        trained_files("run.json"),
    output:
        directory(LAYOUT.root / "viewer"),
    log:
        LAYOUT.log("report/viewer"),
    conda:
        "../envs/cpu.yaml"
    threads: ASKED.stage("report").threads
    resources:
        **ASKED.of("report"),
    params:
        study=STUDY_FILE,
        settings=stages.report(STUDY),
        records=lambda wildcards: str(LAYOUT.root / "eval"),
        models=lambda wildcards: str(LAYOUT.root / "models"),
    message:
        "Viewer"
    shell:
        "mrsearch report viewer --study {params.study:q} --records {params.records:q} --models {params.models:q}"
        " --out {output:q} 2> {log:q}"
