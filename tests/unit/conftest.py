"""What these tests share."""

from made_up import make_groups, make_records, make_train_logs, small_study

__all__ = ["make_groups", "make_records", "make_train_logs", "small_study"]
