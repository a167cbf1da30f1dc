"""As much of the API of Weights & Biases as its client needs to report and upload runs, on a port of this machine."""

from __future__ import annotations

import gzip
import json
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "me"


class Received:
    """What a client has sent."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        """Variables of the mutation that made or changed a run, by its id."""
        self.history: dict[str, list[dict[str, Any]]] = {}
        """Rows of a run's history, by its id."""
        self.finished: dict[str, int] = {}
        """Exit code of a run, by its id."""
        self.files: dict[str, bytes] = {}
        """Files by the path under which they were uploaded."""
        self.artifacts: list[dict[str, Any]] = []
        """Variables of each mutation that made an artifact."""
        self.other: list[str] = []
        """Requests that nothing here answers."""


@contextmanager
def wandb_server() -> Iterator[tuple[str, Received]]:
    """The address of a server, and what it receives."""
    received = Received()
    handler = type("Handler", (_Handler,), {"received": received})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    received: Received
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        """A client that ends may leave a connection open."""
        with suppress(ConnectionError):
            super().handle()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/graphql":
            return self._reply(self._graphql(json.loads(body)))
        if stream := re.fullmatch(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream", self.path):
            self._stream(stream[3], json.loads(body))
            return self._reply({})
        self.received.other.append(f"POST {self.path}")
        self._reply({})

    def do_PUT(self) -> None:
        self.received.files[self.path.removeprefix("/storage/")] = self._body()
        self._reply({})

    def do_GET(self) -> None:
        self.received.other.append(f"GET {self.path}")
        self._reply({})

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        encoding = self.headers.get("Content-Encoding", "")
        return gzip.decompress(body) if encoding == "gzip" else zlib.decompress(body) if encoding == "deflate" else body

    def _reply(self, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, run: str, content: dict[str, Any]) -> None:
        for name, part in (content.get("files") or {}).items():
            if name == "wandb-history.jsonl":
                self.received.history.setdefault(run, []).extend(json.loads(line) for line in part["content"])
        if content.get("complete"):
            self.received.finished[run] = content.get("exitcode", 0)

    def _graphql(self, request: dict[str, Any]) -> dict[str, Any]:
        query, variables = request["query"], request.get("variables") or {}
        (name,) = re.findall(r"^\s*(?:query|mutation)\s+(\w+)", query)[:1] or [""]
        answer = getattr(self, f"_on_{name}", None)
        if answer is None:
            self.received.other.append(name)
            return {"data": {}}
        return {"data": answer(variables)}

    def _on_RunResumeStatus(self, variables: dict[str, Any]) -> dict[str, Any]:
        project = {"id": "project", "name": variables["project"], "entity": {"id": ENTITY, "name": ENTITY}}
        return {"model": {**project, "bucket": None}}

    def _on_Viewer(self, variables: dict[str, Any]) -> dict[str, Any]:
        person = {"id": ENTITY, "entity": ENTITY, "username": ENTITY, "email": f"{ENTITY}@example.org", "flags": "{}"}
        return {"viewer": {**person, "teams": {"edges": []}}}

    def _on_UpsertBucket(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.received.runs.setdefault(variables["name"], {})
        inserted = not run
        run |= {name: value for name, value in variables.items() if value is not None}
        project = {"id": "project", "name": run["project"], "entity": {"id": ENTITY, "name": ENTITY}}
        bucket = {"id": f"id-{run['name']}", "name": run["name"], "displayName": run.get("displayName")}
        bucket |= {"config": run.get("config"), "project": project, "historyLineCount": 0}
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _on_OrganizationCoreWeaveOrganizationID(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"entity": None}

    def _on_CreateRunFiles(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = variables["run"]
        files = [{"name": name, "uploadUrl": self._storage(f"{run}/{name}")} for name in variables["files"]]
        return {"createRunFiles": {"runID": f"id-{run}", "uploadHeaders": [], "files": files}}

    def _on_ArtifactType(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"artifact": None}}

    def _on_ServerFeaturesQuery(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def _on_CreateArtifact(self, variables: dict[str, Any]) -> dict[str, Any]:
        """Committed at once, as where the same content is known, so that its manifest is not asked for."""
        self.received.artifacts.append(variables["input"])
        artifact = {"id": f"artifact-{len(self.received.artifacts)}", "state": "COMMITTED"}
        return {"createArtifact": {"artifact": {**artifact, "artifactSequence": {"latestArtifact": None}}}}

    def _storage(self, path: str) -> str:
        host, port = self.server.server_address[:2]
        return f"http://{host}:{port}/storage/{path}"
