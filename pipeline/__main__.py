"""``python -m pipeline``: ``engine`` (what the handler starts), ``fetch`` (weights from the hub), ``run`` (one file,
no handler).
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from pipeline.errors import PipelineError, UnreadableMedia, sentence
from pipeline.types import Event, JobRequest, Progress

_HOME = "~/.cache/dropscribe"  # DROPSCRIBE_HOME's default, as in the handler's settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status; what goes wrong is one line on stderr."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s: %(message)s")
    try:
        if given.command == "engine":
            from pipeline.engine import serve

            return serve(sys.stdin.buffer, given.events_fd)
        return _fetch(given.name) if given.command == "fetch" else _run(given.file, given.output, given.model)
    except PipelineError as error:
        return _say(sentence(error.message, error.hint))
    except OSError as error:
        return _say(f"{error.strerror or error}{'' if error.filename is None else f': {error.filename}'}")
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _say(line: str) -> int:
    print(f"pipeline: {' '.join(line.split())}", file=sys.stderr)
    return 1


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line: the usage is what ``--help`` is for."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"pipeline: {message}. See `{self.prog} --help`.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m pipeline", description="The pipeline without a bucket.")
    commands = parser.add_subparsers(dest="command", required=True)
    engine = commands.add_parser("engine", help="run jobs that come as JSON lines on stdin; started by the worker")
    engine.add_argument("--events-fd", type=_descriptor, required=True, help="descriptor to write events to")
    fetch = commands.add_parser("fetch", help="download a Whisper model from the hub")
    fetch.add_argument("name", help="for example large-v3-turbo, or a repository owner/name of CTranslate2 weights")
    run = commands.add_parser("run", help="transcribe one file and write the 'results' of Deepgram's JSON")
    run.add_argument("file", type=Path)
    run.add_argument("-o", "--output", type=Path, help="write to this file instead of stdout")
    run.add_argument("--model", help="auto, sphinx, a Whisper model's name, or the path of its folder")
    return parser


def _descriptor(text: str) -> int:
    try:
        os.fstat(int(text))
    except (ValueError, OSError) as error:
        raise argparse.ArgumentTypeError(f"{text} is no open descriptor") from error
    return int(text)


def _home() -> Path:
    return Path(os.environ.get("DROPSCRIBE_HOME", _HOME)).expanduser()


def _fetch(name: str) -> int:
    from pipeline.models.fetch import fetch

    model = fetch(name, _home())
    print(f"{model.name} ({model.version}) is in {model.folder}")
    return 0


def _run(file: Path, output: Path | None, model: str | None) -> int:
    from pipeline.catalog import resolve
    from pipeline.models import Models
    from pipeline.options import Options
    from pipeline.plan import GENERATING_OUTPUT, artifact_name
    from pipeline.run import run_job

    if not file.is_file():
        raise UnreadableMedia(f"there is no file {file}", "Give the path of a recording.")
    if output is not None:
        output.parent.stat()  # said now, not after the work
    found = resolve(model, os.environ.get("DROPSCRIBE_MODELS"), _home(), trusted=True)
    with tempfile.TemporaryDirectory(prefix="dropscribe-") as folder:
        work = Path(folder)
        source = work / f"source{file.suffix}"  # some containers are told apart by it alone
        source.symlink_to(file.absolute())
        request = JobRequest(
            work=folder,
            source=source.name,
            options=Options().model_dump(mode="json"),
            model=found.model_dump(mode="json"),
            seed=file.name,
        )
        run_job(work, request, Models(), _show)
        body = (work / artifact_name(GENERATING_OUTPUT)).read_bytes()
    if output is None:
        sys.stdout.buffer.write(body + b"\n")
    else:
        output.write_bytes(body + b"\n")
    return 0


def _show(event: Event) -> None:
    if isinstance(event, Progress):
        print(f"{event.stage} {event.percent:.0f} %", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
