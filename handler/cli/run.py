"""``dropscribe run``: the pipeline alone. A file in, its transcript out; no bucket, nothing kept.

The engine gets a work directory with a link to the file, so nothing can be written beside it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click
from rich.progress import Progress as Bars
from rich.progress import TaskID
from rich.text import Text

from handler.cli.bucket import given_options
from handler.cli.failure import as_error
from handler.cli.files import check_output, write_output
from handler.cli.runtime import Runtime, standard, start_log
from handler.cli.screen import note, progress_bars, results
from handler.clock import Clock
from handler.errors import Usage
from handler.layout import SPEAKERS_FILE, SPEAKERS_SUFFIX, job_id_of
from handler.models.library import Library
from handler.settings import Settings, load_settings
from handler.worker.scratch import Scratch
from pipeline.catalog import Model
from pipeline.companions import Companions
from pipeline.errors import EmptyMedia, EngineFailure, OutOfSpace
from pipeline.formats.captions import Captions
from pipeline.formats.captions.names import MAX_BYTES, read_names
from pipeline.formats.deepgram import assemble, metadata_part
from pipeline.options import Parsed, parse
from pipeline.plan import GENERATING_OUTPUT, job_digest, stage_plans
from pipeline.types import Event, Facts, Failed, JobRequest, Media, Progress, StageDone


@click.command("run")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write Deepgram's JSON to this file."
)
@click.option(
    "--option", "pairs", multiple=True, metavar="NAME=VALUE", help="An option of docs/options.md; may be repeated."
)
@click.option("--model", help="auto, sphinx, a Whisper model's name, or the path of its folder.")
@standard
@click.pass_obj
def command(
    runtime: Runtime, file: Path, output: Path | None, pairs: tuple[str, ...], model: str | None, as_json: bool
) -> None:
    """Transcribe one FILE here and now, without a bucket.

    Prints the transcript; with --json the whole answer in Deepgram's JSON, with -o into a file. FILE is audio or video
    and is never changed. --option outputs=srt,vtt writes captions beside -o.
    """
    start_log()
    settings = load_settings(model=model)
    parsed = parse(("--option", given_options(pairs)))
    if parsed.options.callback is not None:
        raise Usage(
            "callback= is a worker's business: `dropscribe run` sends nothing anywhere",
            "Leave it out, or hand the file to a worker with `dropscribe submit`.",
        )
    beside = forms(output, parsed.options.outputs)
    if output is not None:
        check_output(output)
    with _terminable():
        answer = transcribe(file, parsed, settings, runtime)
    told = json.loads(answer)
    for warning in told["metadata"].get("warnings", ()):
        note(f"Note: {warning['message']}")
    if output is not None:
        names = _names(file) if beside else {}
        captions = Captions(told, names, file=file.name) if beside else None
        for kind, path in beside.items():
            assert captions is not None
            write_output(path, captions.render(kind).encode())
        write_output(output, answer)
    if as_json:
        sys.stdout.flush()
        click.echo(answer)
    elif output is None:
        _show(told)
    if output is not None:
        note(f"{output} has the transcript.")
    for path in beside.values():
        note(f"{path} is written.")


def forms(output: Path | None, kinds: tuple[str, ...]) -> dict[str, Path]:
    """Where a result's other forms go: talk.srt beside talk.json. `Usage` where there is no such place."""
    if not kinds:
        return {}
    if output is None:
        raise Usage(f"outputs={','.join(kinds)} needs a place", "Give -o, for example -o talk.json.")
    if (ending := output.suffix.removeprefix(".")) in kinds:
        raise Usage(f"{output} cannot be both the JSON and the {ending}", f"Give -o {output.stem}.json.")
    stem = output.name.removesuffix(".json")
    return {kind: output.with_name(f"{stem}.{kind}") for kind in kinds}


def _names(file: Path) -> dict[str, str]:
    """Names of speakers: from a speakers.json of the recording's own, or that of its folder. A bad one is a note."""
    for path in (file.with_name(file.name + SPEAKERS_SUFFIX), file.with_name(SPEAKERS_FILE)):
        if path.is_file():
            with path.open("rb") as opened:
                found = read_names(opened.read(MAX_BYTES + 1))
            if found.problem:
                note(f"Note: {path}: {found.problem}")
            return found.names
    return {}


def transcribe(file: Path, parsed: Parsed, settings: Settings, runtime: Runtime) -> bytes:
    """The answer in Deepgram's JSON. `PipelineError` as the engine says it, `EngineDied`, `OSError` of the file."""
    clock = runtime.clock
    shared = parsed.options.model_copy(update={"cache": True})  # nothing is kept here, so nothing has to be kept apart
    parsed = parsed.model_copy(update={"options": shared})
    named = parsed.options.model or settings.model
    library = Library(settings, clock)
    model, companions = library.named(named, trusted=True), library.companions(parsed.options)
    if file.stat().st_size == 0:
        raise EmptyMedia(f"{file} is empty")
    with file.open("rb") as source:
        sha256 = hashlib.file_digest(source, "sha256").hexdigest()
    with _work_directory(settings, clock) as work:
        facts = _drive(_request(file, work, sha256, parsed, model, companions, settings), settings, runtime, clock)
        body = (work / stage_plans(sha256, parsed.options, model, companions=companions)[-1].artifact).read_bytes()
    metadata = metadata_part(
        facts,
        request_id=job_id_of(job_digest(sha256, parsed.options, model, companions=companions), sha256),
        sha256=sha256,
        created=clock.time(),
        tags=parsed.options.tag,
        extra=parsed.options.extra,
        warnings=(*model.warnings, *parsed.warnings),
    )
    return assemble(metadata, body)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM is as Ctrl-C: the engine ends, the work directory goes. Only the exit code tells them apart."""

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # another one must not keep the first from tidying up
        sys.exit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's alone
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _work_directory(settings: Settings, clock: Clock) -> Iterator[Path]:
    scratch = Scratch(settings.work_dir, f"run-{clock.new_id()[:8]}")
    scratch.open()
    try:
        yield scratch.path
    except OSError as error:
        if OutOfSpace.explains(error):
            raise OutOfSpace("the work directory's disk is full") from error
        raise
    finally:
        scratch.close()


def _request(
    file: Path, work: Path, sha256: str, parsed: Parsed, model: Model, companions: Companions, settings: Settings
) -> JobRequest:
    source = work / f"source{file.suffix}"
    source.symlink_to(file.absolute())
    return JobRequest(
        work=str(work),
        source=source.name,
        options=parsed.options.model_dump(mode="json"),
        model=model.model_dump(mode="json"),
        companions=companions.model_dump(mode="json"),
        seed=stage_plans(sha256, parsed.options, model, companions=companions)[-1].digest,
        max_duration=settings.max_duration_seconds,
    )


class StageBars:
    """A progress bar for each stage, as several may be under way; the first one's is there before the stages are."""

    def __init__(self, bars: Bars, model: str) -> None:
        self._bars = bars
        self._first = bars.add_task(f"Starting {model}", total=100.0, note="")
        self._tasks: dict[str, TaskID] = {}

    def show(self, event: Event | None) -> None:
        if isinstance(event, Media) and not self._tasks:
            self._bars.update(self._first, description="Decoding")
        elif isinstance(event, Progress):
            note = f"{event.done:.0f} s of {event.total:.0f} s" if event.done is not None and event.total else ""
            self._bars.update(self._task(event.stage), completed=event.percent, note=note)
        elif isinstance(event, StageDone) and event.artifact:
            self._bars.update(self._task(event.stage), completed=100.0)

    def _task(self, stage: str) -> TaskID:
        if stage not in self._tasks:
            words = stage.replace("_", " ").capitalize()
            if self._tasks:
                self._tasks[stage] = self._bars.add_task(words, total=100.0, note="")
            else:
                self._tasks[stage] = self._first
                self._bars.update(self._first, description=words)
        return self._tasks[stage]


def _drive(request: JobRequest, settings: Settings, runtime: Runtime, clock: Clock) -> Facts:
    engine = runtime.engine(clock, Path(request.work), settings)
    facts: Facts | None = None

    try:
        with progress_bars() as bars:
            view = StageBars(bars, str(request.model["name"]))
            events = engine.run(request, time_limit=settings.time_limit, poll=settings.poll_seconds)
            with contextlib.closing(events):  # type: ignore[type-var]
                for event in events:
                    view.show(event)
                    if isinstance(event, Failed):
                        raise as_error(event.error)
                    if isinstance(event, StageDone) and event.stage == GENERATING_OUTPUT:
                        facts = event.facts
    finally:
        engine.close()
    if facts is None:
        raise EngineFailure("the engine finished without a result")
    return facts


def _show(answer: dict[str, object]) -> None:
    """The transcript in paragraphs where it has them; each channel under its number when there are several."""
    out = results()
    for text in transcripts(answer):
        out.print(Text(text), soft_wrap=True)


def transcripts(answer: dict[str, object]) -> list[str]:
    """What was said, for people, out of an answer in Deepgram's JSON; one text for each channel."""
    channels = answer["results"]["channels"]  # type: ignore[index]
    texts = []
    for number, channel in enumerate(channels):
        best = channel["alternatives"][0]
        text = (best.get("paragraphs") or best)["transcript"].strip() or "(no speech was found)"
        texts.append(f"Channel {number}:\n{text}" if len(channels) > 1 else text)
    return texts
