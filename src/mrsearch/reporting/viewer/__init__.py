"""A static page to browse meta-episodes: no server, no network, nothing to build."""

from mrsearch.reporting.viewer.build import Source, write_viewer

__all__ = ["Source", "write_viewer"]
