# The life of the retrieval server and the beginning and end of a run.


def begin():
    """Write the study down and start what its jobs need. On a cluster, first name everything that would stop the run,
    before a job is submitted."""
    if RUN.scheduler == "slurm":
        found = preflight(RUN, STUDY)
        if found.problems:
            raise WorkflowError("\n".join(["The run was not started:", *found.problems]))
        for sentence in found.unchecked:
            logger.info(f"Not checked: {sentence}")
    write_study(STUDY, LAYOUT.study)
    for retriever in SERVED:
        start_retriever(retriever)


def start_retriever(retriever):
    """Start a server for jobs that wait for it, unless its rule is about to do so."""
    waiting, started = list(workflow.dag.needrun_jobs()), str(LAYOUT.started(retriever))
    if any(job.rule.name == "retriever" and started in job.output for job in waiting):
        return
    if any(started in job.input for job in waiting):
        logger.info(f"Retrieval server: {retriever}")
        names = ["--study", STUDY_FILE, "--retriever", retriever]
        places = ["--corpus", str(LAYOUT.corpus), "--indexes", str(LAYOUT.indexes)]
        log, endpoint = LAYOUT.log(f"retriever/{retriever}"), str(LAYOUT.endpoint(retriever))
        if run_to_the_end(["mrsearch", "retriever", "start", *names, *places, *SERVER_OPTIONS, endpoint], log):
            raise WorkflowError(f"The retrieval server {retriever} did not start; {log} says why.")


def stop_retrievers():
    """Nothing stays behind, whether the run succeeded or failed."""
    for endpoint in map(LAYOUT.endpoint, SERVED):
        if ServiceFiles(endpoint).state.exists():
            subprocess.run(["mrsearch", "retriever", "stop", str(endpoint)])
