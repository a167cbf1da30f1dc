"""A static page to browse meta-episodes: no server, no network, nothing to build."""

from mrsearch.reporting.viewer.build import write_viewer

__all__ = ["write_viewer"]
