"""A server that somebody else runs: its address and the token that it asks for."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from mrsearch.config.derived_retrievers import RemoteRetriever
from mrsearch.retrieval.service.endpoint import Endpoint

TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""What may follow `Bearer` (RFC 6750, section 2.1)."""
MOST_BYTES = 8192


def remote_endpoint(settings: RemoteRetriever) -> Endpoint:
    """Where the server is, with its token; ValueError for a file of a token that is missing, that others can read, or
    that holds something else."""
    token = None if settings.token_file is None else _token(Path(settings.token_file).expanduser())
    return Endpoint(settings.url, "", token)


def _token(path: Path) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(f"token_file ({path}) cannot be read: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ValueError(f"token_file ({path}) is open to other users: `chmod 600 {path}`")
    token = content.decode("ascii", "replace").strip()
    if len(content) > MOST_BYTES or not TOKEN.fullmatch(token):
        raise ValueError(f"token_file ({path}) holds something else than one bearer token")
    return token
