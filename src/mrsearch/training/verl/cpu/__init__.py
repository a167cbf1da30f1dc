"""verl without a GPU, for tests and rehearsals; the path on a cluster uses nothing of it.

`VERL_USE_EXTERNAL_MODULES=mrsearch.training.verl.cpu.plugin VERL_PLATFORM=cpu` switches it on in every process.
"""
