"""``./run demo``: a real recording through a real worker and a folder for a bucket; then the same bytes again.

Needs nothing but the base install: no network, no download, no server. Takes the folder to use, by default
``./demo-bucket``, and never deletes one that it did not make.
"""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import click

from handler.cli.bucket import Bucket, open_bucket
from handler.cli.failure import report
from handler.cli.follow import Ended, follow
from handler.cli.run import transcripts
from handler.cli.runtime import Runtime, start_log
from handler.cli.submit import read_result, upload
from handler.errors import HandlerError, Usage
from handler.worker import Tally, Worker
from pipeline.errors import PipelineError

RECORDING = Path(__file__).with_name("jfk.flac")
MARKER = ".made-by-the-demo"
_PATIENCE_SECONDS = 300.0  # for the slowest machine there is

INTRODUCTION = """\
The model is sphinx (pocketsphinx), the small one: its weights come with the installation, so it needs no download,
and its transcripts are poor. Whisper's are good; see the end.
"""

NEXT = """\
Next:
  your own file, no bucket      ./run dropscribe run FILE
  a bucket that is watched      ./run dropscribe work ./bucket      (then drop files into ./bucket/input/)
  good transcripts, with Whisper
                                ./run fetch large-v3-turbo
                                ./run dropscribe run FILE --model large-v3-turbo
  a bucket on S3 or MinIO       ./run dropscribe work s3://BUCKET   (AWS_ENDPOINT_URL for MinIO)
  is everything in order?       ./run dropscribe doctor
"""


def main(arguments: Sequence[str], runtime: Runtime) -> int:
    """The exit code."""
    start_log()
    try:
        demonstrate(Path(arguments[0]) if arguments else Path("demo-bucket"), runtime)
    except (HandlerError, PipelineError, OSError) as error:
        return report(error, debug=False)
    except KeyboardInterrupt:
        return 130
    return 0


def demonstrate(folder: Path, runtime: Runtime) -> None:
    """`Usage` if ``folder`` is somebody else's."""
    make_folder(folder)
    # Files are renamed into place here, so none has to prove for a second that it is whole.
    bucket = open_bucket(str(folder), runtime, model="sphinx", settle_seconds=0.05, scan_seconds=0.05)
    stop = threading.Event()
    engine = runtime.engine(runtime.clock, bucket.settings.work_dir, bucket.settings)
    name = f"demo-{runtime.clock.new_id()[:8]}"
    worker = Worker(bucket.store, bucket.settings, runtime.clock, engine, name=name, stop=stop)
    click.echo(INTRODUCTION)
    with ThreadPoolExecutor(1, "worker") as executor:
        running = executor.submit(worker.run, drain=False)
        try:
            first, seconds = drop(bucket, "jfk.flac", runtime, running)
            tell_first(bucket, first, seconds)
            again, again_seconds = drop(bucket, "the-same-again.flac", runtime, running)
            tell_again(bucket, again, seconds, again_seconds)
        finally:
            stop.set()
        running.result()
    click.echo(NEXT)


def make_folder(folder: Path) -> None:
    """An empty folder with the demo's mark in it. Only one that carries the mark is ever removed. `Usage` otherwise."""
    ours = (folder / MARKER).is_file() and not folder.is_symlink()
    if ours:
        shutil.rmtree(folder)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Usage(
            f"{folder} is there already, and the demo did not make it", "Name another folder: ./run demo FOLDER."
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("The demo removes this folder when it is run again.\n", encoding="utf-8")


def drop(bucket: Bucket, key: str, runtime: Runtime, running: Future[Tally]) -> tuple[Ended, float]:
    """Drop the recording in as ``key`` and wait for its result; gives it with the seconds that took."""
    click.echo(f"Dropping {RECORDING.name} into {bucket.where(bucket.layout.input_key(key))}")
    started = runtime.clock.monotonic()
    sources = upload(bucket, {key: RECORDING}, {})

    def still_working() -> None:
        if running.done():
            running.result()  # raises what ended it

    [ended] = follow(bucket, sources, runtime.clock, _PATIENCE_SECONDS, between=still_working)
    if ended.status != "completed":
        raise HandlerError(f"{key} {ended.status}: {ended.message}", "`./run dropscribe doctor` may know why.")
    return ended, runtime.clock.monotonic() - started


def tell_first(bucket: Bucket, ended: Ended, seconds: float) -> None:
    click.echo(f"Done in {seconds:.1f} s. What was heard:\n")
    for text in transcripts(read_result(bucket, ended)):
        click.echo("  " + text.replace("\n", "\n  "))
    click.echo("\nIn the bucket now:")
    assert ended.result is not None
    for key, what in (
        (bucket.layout.input_key(ended.source.key), "the recording, as it was dropped"),
        (bucket.layout.progress_key(ended.source.key), "how far it is, while it runs"),
        (ended.result, "the transcript, in Deepgram's JSON"),
    ):
        click.echo(f"  {what:36} {bucket.where(key)}")
    click.echo()


def tell_again(bucket: Bucket, ended: Ended, first: float, again: float) -> None:
    assert ended.result is not None
    how = "a cache hit" if ended.cached else "no cache hit"
    click.echo(f"The same bytes under another name: {how}. First time {first:.1f} s, this time {again:.1f} s.")
    click.echo(f"  {bucket.where(ended.result)}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Runtime()))
