"""What these tests share: a made-up study, and a browser."""

from chromium import browser
from made_up import make_groups, make_records, make_train_logs, small_study

__all__ = ["browser", "make_groups", "make_records", "make_train_logs", "small_study"]
