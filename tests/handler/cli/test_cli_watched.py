"""A worker that is watched: its log for programs, and its port, from the command line on."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from cli_rig import Cli, one_line

from handler.cli.logs import JsonLines
from handler.cli.watched import process_seconds
from handler.observer import Doing


def lines(stderr: str) -> list[dict[str, Any]]:
    """The log's lines; the last one of stderr is for people."""
    return [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]


def put(bucket: Path, name: str = "talk.wav") -> None:
    (bucket / "input").mkdir(exist_ok=True)
    (bucket / "input" / name).write_bytes(b"a recording of somebody who talks")


def test_a_log_for_programs(cli: Cli, bucket: Path) -> None:
    """Where stderr is no terminal each line is one JSON object; those of a job name its id, key, attempt and stage, and
    the id is that of the result.
    """
    put(bucket)
    result = cli("work", bucket, "--drain", "--name", "anna")
    assert result.exit_code == 0, result.stderr
    told = lines(result.stderr)
    for line in told:
        assert {"time", "level", "logger", "message", "worker"} <= set(line)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert line["worker"].startswith("anna-")
    [begun] = [line for line in told if "attempt 1" in line["message"]]
    made = json.loads((bucket / "results" / "talk.wav.json").read_text())
    assert begun["job_id"] == made["metadata"]["request_id"]
    assert (begun["key"], begun["attempt"], begun["stage"]) == ("talk.wav", 1, "downloading")
    assert "job_id" not in told[0]


def test_a_log_for_people(cli: Cli, bucket: Path) -> None:
    """DROPSCRIBE_LOG_FORMAT=text gives lines to read."""
    put(bucket)
    cli.env["DROPSCRIBE_LOG_FORMAT"] = "text"
    result = cli("work", bucket, "--drain")
    assert result.exit_code == 0
    assert lines(result.stderr) == []
    assert re.search(r"INFO +talk\.wav: job [0-9a-f]{16}, attempt 1", result.stderr)


def test_no_such_form(cli: Cli, bucket: Path) -> None:
    """Another value is refused before anything starts."""
    cli.env["DROPSCRIBE_LOG_FORMAT"] = "xml"
    result = cli("work", bucket, "--drain")
    assert result.exit_code == 2
    assert "DROPSCRIBE_LOG_FORMAT" in one_line(result)


def record(message: str, *, thread: str = "worker_0", failed: bool = False) -> logging.LogRecord:
    error = ValueError("why\nnot")
    info = (ValueError, error, None) if failed else None
    made = logging.LogRecord("handler.x", logging.ERROR, "x.py", 1, message, (), info)
    made.threadName = thread
    return made


def test_no_line_holds_another() -> None:
    """Whatever a key or a traceback holds, a record is one line of JSON that says it as it was."""
    doing = Doing("id", "a\nb\u2028c\ud800.wav", 1, "transcribing")
    line = JsonLines("anna", lambda: doing).format(record('a\n{"level": "info"}\x1b[31m', failed=True))
    assert len(line.splitlines()) == 1
    read = json.loads(line)
    assert read["message"] == 'a\n{"level": "info"}\x1b[31m'
    assert read["key"] == doing.key
    assert "why\nnot" in read["exception"]


@pytest.mark.parametrize(
    ("thread", "named"), [("worker_0", True), ("heart", True), ("engine log", True), ("beside", False)]
)
def test_whose_line_it_is(thread: str, named: bool) -> None:
    """The heart's lines and the engine's are the present job's; what is done beside it, for others, does not name
    it.
    """
    line = JsonLines("anna", lambda: Doing("id", "a.wav", 1, "transcribing")).format(record("x", thread=thread))
    assert ("job_id" in json.loads(line)) == named


class Reader:
    """Reads the port of a worker from within its job."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.pages: dict[str, tuple[int, str]] = {}

    def __call__(self, stage: str) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for path in ("/livez", "/readyz", "/metrics"):
            with opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                self.pages[path] = answer.status, answer.read().decode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_worker_with_a_port(cli: Cli, bucket: Path) -> None:
    """In the middle of a job it is alive and ready, and its figures say what is under way, what the start took, and
    which requests were made; once it has ended nobody answers.
    """
    put(bucket)
    port = free_port()
    cli.env["DROPSCRIBE_HTTP_PORT"] = str(port)
    cli.between = reader = Reader(port)
    result = cli("work", bucket, "--drain")
    assert result.exit_code == 0, result.stderr
    assert reader.pages["/livez"][0] == reader.pages["/readyz"][0] == 200
    page = reader.pages["/metrics"][1].splitlines()
    assert "dropscribe_jobs_inprogress 1.0" in page
    assert "dropscribe_queue_depth 1.0" in page
    assert 'dropscribe_jobs_total{outcome="completed"} 0.0' in page
    for phase in ("process", "bucket", "model", "probe", "listing", "claim"):
        assert any(line.startswith(f'dropscribe_cold_start_seconds{{phase="{phase}"}}') for line in page), phase
    gets = [line for line in page if line.startswith('dropscribe_store_requests_total{outcome="ok",verb="put"}')]
    assert gets
    assert float(gets[0].split()[-1]) > 0
    with pytest.raises(urllib.error.URLError):
        reader("over")


def test_a_port_that_cannot_be(cli: Cli, bucket: Path) -> None:
    """A port that is taken ends the command with one line and exit code 2, before the bucket is touched."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        cli.env["DROPSCRIBE_HTTP_PORT"] = str(taken.getsockname()[1])
        result = cli("work", bucket, "--drain")
    assert result.exit_code == 2
    assert "DROPSCRIBE_HTTP_PORT" in one_line(result)
    assert not list(bucket.iterdir())


def test_not_ready_while_it_stops(cli: Cli, bucket: Path) -> None:
    """A worker that was told to stop and is still at its last stage is not ready: nobody should count on it."""
    put(bucket)
    port = free_port()
    cli.env["DROPSCRIBE_HTTP_PORT"] = str(port)
    cli.env["DROPSCRIBE_STOP_SECONDS"] = "600"  # the last resort ends the process, and this test with it
    reader, found = Reader(port), []

    def stop(stage: str) -> None:
        if reader.pages:  # a second signal would end this process at once
            return
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(30):  # the main thread hears of it in a moment
            try:
                reader(stage)
            except urllib.error.HTTPError as error:
                with error:
                    found.append(error.code)
                return
            time.sleep(0.1)

    cli.between = stop
    cli("work", bucket, "--drain")
    assert found == [503]
    assert reader.pages["/livez"][0] == 200


def test_the_process_own_age(tmp_path: Path) -> None:
    """From what the kernel says, whatever the program is called; None where it says nothing."""
    ticks = os.sysconf("SC_CLK_TCK")
    fields = ["S", *(["0"] * 18), str(90 * ticks), "0"]  # proc(5): from state, the third, to starttime, the 22nd
    (tmp_path / "stat").write_text(f"42 (a ) name) {' '.join(fields)}\n")
    (tmp_path / "uptime").write_text("100.25 55.5\n")
    assert process_seconds(tmp_path / "stat", tmp_path / "uptime") == pytest.approx(10.25)
    assert process_seconds(tmp_path / "none", tmp_path / "uptime") is None


def test_nothing_is_opened_without_a_port(cli: Cli, bucket: Path) -> None:
    """By default no thread serves anything."""
    put(bucket)
    names: list[str] = []
    cli.between = lambda stage: names.extend(thread.name for thread in threading.enumerate())
    assert cli("work", bucket, "--drain").exit_code == 0
    assert names
    assert "health" not in names
