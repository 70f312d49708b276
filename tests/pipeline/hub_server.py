"""A hub on this machine that speaks as much of its protocol as the hub's own client needs to fetch a file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class HubServer:
    """One commit of some repositories: ``repos`` maps their names to files. ``served``: paths of files that went out
    whole.
    """

    commit: str
    repos: Mapping[str, Mapping[str, bytes]]
    served: list[str] = field(default_factory=list)
    url: str = ""

    @contextlib.contextmanager
    def serving(self) -> Iterator[HubServer]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(True)

            def do_HEAD(self) -> None:
                self._answer(False)

            def _answer(self, body: bool) -> None:
                status, headers, content = hub.answer(self.path.partition("?")[0])
                if body and status == 200 and "/resolve/" in self.path:
                    hub.served.append(self.path)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        for repo, files in self.repos.items():
            if path == f"/api/models/{repo}/revision/{self.commit}":
                told = {"id": repo, "sha": self.commit, "siblings": [{"rfilename": name} for name in files]}
                return 200, {"Content-Type": "application/json"}, json.dumps(told).encode()
            if path == f"/api/models/{repo}/tree/{self.commit}":
                rows = [
                    {"type": "file", "path": name, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}
                    for name, body in files.items()
                ]
                return 200, {"Content-Type": "application/json"}, json.dumps(rows).encode()
            for name, body in files.items():
                if path == f"/{repo}/resolve/{self.commit}/{name}":
                    etag = f'"{hashlib.sha256(body).hexdigest()}"'
                    return 200, {"ETag": etag, "X-Repo-Commit": self.commit, "Accept-Ranges": "bytes"}, body
        return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
