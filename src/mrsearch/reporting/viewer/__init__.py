"""A static page to browse meta-episodes: no server, no network, nothing to build."""

from mrsearch.reporting.viewer.build import StudyRecords, write_viewer

__all__ = ["StudyRecords", "write_viewer"]
