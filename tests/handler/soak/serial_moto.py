"""S3 and SQS in a process of their own, with S3's requests answered one at a time: so conditional writes are atomic.

    python serial_moto.py

Prints its URL, and ends with its input. moto checks a condition and then writes, without a lock; the lock is here.
Long polls of the queue are not held up by it.
"""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server


def one_at_a_time(app: Any) -> Any:
    lock = threading.Lock()

    def serve(environ: Any, start_response: Any) -> Any:
        if "/s3/" not in environ.get("HTTP_AUTHORIZATION", ""):
            return app(environ, start_response)
        with lock:
            return list(app(environ, start_response))

    return serve


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, one_at_a_time(DomainDispatcherApplication(create_backend_app)), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.port}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
