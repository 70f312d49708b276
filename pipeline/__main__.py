"""``python -m pipeline``: ``engine`` (what the handler starts), ``fetch`` and ``convert`` (weights from the
hub), ``probe`` (what this machine can compute with), ``run`` (one file, no handler).
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
from typing import TYPE_CHECKING, NoReturn, get_args

from pipeline.cores import share_cores
from pipeline.devices import THRESHOLD, ComputeType, Device, DeviceSettings
from pipeline.errors import OptionsError, PipelineError, UnreadableMedia, sentence
from pipeline.types import Event, JobRequest, Progress

if TYPE_CHECKING:
    from pipeline.companions import Choice

_HOME = "~/.cache/dropscribe"  # DROPSCRIBE_HOME's default, as in the handler's settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status; what goes wrong is one line on stderr."""
    given = _parser().parse_args(arguments)
    share_cores()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s: %(message)s")
    try:
        if given.command == "engine":
            if given.cage is not None:
                _confine(given.cage)  # before anything else is imported: libraries start threads
            from pipeline.engine import serve
            from pipeline.models import Models

            return serve(sys.stdin.buffer, given.events_fd, Models(_devices(given)))
        if given.command == "convert":
            return _convert(given.source, given.quantization, given.name)
        if given.command == "probe":
            return _probe(given)
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
    engine.add_argument("--cage", help="what to give up first, as JSON: see pipeline.cage; default: nothing")
    _add_devices(engine)
    probe = commands.add_parser("probe", help="say what this machine can compute with, by trying")
    probe.add_argument("--model", help="the model to try: a name, or the path of its folder; else the best on disk")
    probe.add_argument("--json", action="store_true", help="write JSON, for programs")
    _add_devices(probe)
    fetch = commands.add_parser("fetch", help="download a model from the hub")
    fetch.add_argument(
        "name",
        help="a Whisper, for example large-v3-turbo, or a repository owner/name of CTranslate2 weights; or htdemucs, "
        "sortformer, titanet, aligner-en (-de, -es, -fr, -it); @COMMIT pins it",
    )
    convert = commands.add_parser("convert", help="make a CTranslate2 model of a Whisper for transformers")
    convert.add_argument("source", help="a repository owner/name of the hub, perhaps with @COMMIT, or a folder")
    convert.add_argument("--quantization", default="float16", help="the type of the weights, for example int8_float16")
    convert.add_argument("--name", help="what the model is called here")
    run = commands.add_parser("run", help="transcribe one file and write the 'results' of Deepgram's JSON")
    run.add_argument("file", type=Path)
    run.add_argument("-o", "--output", type=Path, help="write to this file instead of stdout")
    run.add_argument("--model", help="auto, sphinx, a Whisper model's name, or the path of its folder")
    return parser


def _add_devices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=get_args(Device), default="auto")
    parser.add_argument("--compute-type", choices=get_args(ComputeType), help="default: the best on the device")
    parser.add_argument("--gpu-memory-threshold", type=_share, default=THRESHOLD, help="of it in use by others")


def _confine(text: str) -> None:
    """One line for each bar that the kernel did not allow. An engine in no cage at all is no engine: ValueError."""
    from pipeline.cage.confine import confine
    from pipeline.cage.wish import Cage

    for line in confine(Cage.model_validate_json(text)):
        logging.getLogger("pipeline.cage").warning("%s", line)


def _descriptor(text: str) -> int:
    try:
        os.fstat(int(text))
    except (ValueError, OSError) as error:
        raise argparse.ArgumentTypeError(f"{text} is no open descriptor") from error
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share: above 0, at most 1")
    return share


def _devices(given: argparse.Namespace) -> DeviceSettings:
    return DeviceSettings(
        device=given.device, compute_type=given.compute_type, gpu_memory_threshold=given.gpu_memory_threshold
    )


def _home() -> Path:
    return Path(os.environ.get("DROPSCRIBE_HOME", _HOME)).expanduser()


def _fetch(name: str) -> int:
    from pipeline.known import known_name

    if known_name(name.partition("@")[0]) is not None:
        from pipeline.models.fetch_companion import fetch_companion

        found = fetch_companion(name, _home())
        print(f"{found.info.name} ({found.info.version}) is in {found.folder}")
        return 0
    from pipeline.models.fetch import fetch

    model = fetch(name, _home())
    print(f"{model.name} ({model.version}) is in {model.folder}")
    return 0


def _convert(source: str, quantization: str, name: str | None) -> int:
    from pipeline.models.convert import convert

    model = convert(source, _home(), quantization, name)
    print(f"{model.name} ({model.version}) is in {model.folder}")
    return 0


def _probe(given: argparse.Namespace) -> int:
    from pipeline.catalog import resolve
    from pipeline.probe import probe, told

    models, home = os.environ.get("DROPSCRIBE_MODELS"), _home()
    found = probe(_devices(given), lambda: resolve(given.model, models, home, trusted=True), models, home)
    print(found.model_dump_json() if given.json else told(found))
    return 0


def _run(file: Path, output: Path | None, model: str | None) -> int:
    from pipeline.catalog import resolve
    from pipeline.companions import companions_in
    from pipeline.models import Models
    from pipeline.options import Options
    from pipeline.plan import GENERATING_OUTPUT, artifact_name
    from pipeline.run import run_job

    if not file.is_file():
        raise UnreadableMedia(f"there is no file {file}", "Give the path of a recording.")
    if output is not None:
        output.parent.stat()  # said now, not after the work
    models = os.environ.get("DROPSCRIBE_MODELS")
    found, beside = resolve(model, models, _home(), trusted=True), companions_in(models, _home(), _choice())
    with tempfile.TemporaryDirectory(prefix="dropscribe-") as folder:
        work = Path(folder)
        source = work / f"source{file.suffix}"  # some containers are told apart by it alone
        source.symlink_to(file.absolute())
        request = JobRequest(
            work=folder,
            source=source.name,
            options=Options().model_dump(mode="json"),
            model=found.model_dump(mode="json"),
            companions=beside.model_dump(mode="json"),
            seed=file.name,
        )
        run_job(work, request, Models(), _show)
        body = (work / artifact_name(GENERATING_OUTPUT)).read_bytes()
    if output is None:
        sys.stdout.buffer.write(body + b"\n")
    else:
        output.write_bytes(body + b"\n")
    return 0


def _choice() -> Choice:
    """As in the handler's settings. `OptionsError`."""
    from pipeline.companions import AUTO, Choice, checked

    chosen = {}
    for part in Choice.model_fields:
        setting = f"DROPSCRIBE_{part.upper()}"
        try:
            chosen[part] = checked(os.environ.get(setting, AUTO))
        except ValueError as error:
            raise OptionsError(f"{setting}: {error}") from error
    return Choice(**chosen)


def _show(event: Event) -> None:
    if isinstance(event, Progress):
        print(f"{event.stage} {event.percent:.0f} %", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
