"""The typed configuration. Imports nothing heavy: it loads on a login node in a moment."""

from mrsearch.config.load import check_folders, digest, load_run, load_study, read_study, write_study
from mrsearch.config.run import Run
from mrsearch.config.source import ConfigError
from mrsearch.config.study import Study

__all__ = [
    "ConfigError",
    "Run",
    "Study",
    "check_folders",
    "digest",
    "load_run",
    "load_study",
    "read_study",
    "write_study",
]
