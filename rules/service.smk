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
    start_retriever()


def start_retriever():
    """Start the server for jobs that wait for it, unless its rule is about to do so."""
    waiting = list(workflow.dag.needrun_jobs())
    if any(job.rule.name == "retriever" for job in waiting):
        return
    if SERVED and any(str(STARTED) in job.input for job in waiting):
        logger.info(f"Retrieval server: {STUDY.retrieval.use}")
        places = ["--study", STUDY_FILE, "--corpus", str(LAYOUT.corpus), "--indexes", str(LAYOUT.indexes)]
        log = LAYOUT.log(f"retriever/{STUDY.retrieval.use}")
        if run_to_the_end(["mrsearch", "retriever", "start", *places, *SERVER_OPTIONS, str(ENDPOINT)], log):
            raise WorkflowError(f"The retrieval server did not start; {log} says why.")


def stop_retriever():
    """Nothing stays behind, whether the run succeeded or failed."""
    if SERVED and ServiceFiles(ENDPOINT).state.exists():
        subprocess.run(["mrsearch", "retriever", "stop", str(ENDPOINT)])
