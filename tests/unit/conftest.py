"""What these tests share."""

import importlib.util

from support.made_up import made_once, make_groups, make_records, make_train_logs, measured, small_study

__all__ = ["made_once", "make_groups", "make_records", "make_train_logs", "measured", "small_study"]

if importlib.util.find_spec("hypothesis") is not None:  # the environment with verl has none
    from hypothesis import settings

    # A test has no deadline: another program of the machine may have the processor.
    settings.register_profile("mrsearch", deadline=None)
    settings.load_profile("mrsearch")
