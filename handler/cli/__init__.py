"""The command line: ``dropscribe …``. One module per command, imported only when that command is called.

Takes arguments, gives tables or JSON on stdout, logs and errors on stderr, and an exit code (listed in the help's
epilog). What is not presentation lies below: `handler.worker`, `handler.retry`, `handler.overview`, `handler.shelf`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

from handler.cli.runtime import Runtime, speak_up

# The short help stands here, so that `dropscribe --help` imports no command; a test compares it with the commands' own.
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("handler.cli.run", "Transcribe one FILE here and now, without a bucket."),
    "work": ("handler.cli.work", "Be a worker: transcribe whatever is dropped into BUCKET."),
    "listen": ("handler.cli.listen", "Be a worker that MinIO's webhooks tell what is dropped into BUCKET."),
    "submit": ("handler.cli.submit", "Drop recordings into a bucket."),
    "status": ("handler.cli.status", "Show how far the recordings in BUCKET are."),
    "export": ("handler.cli.export", "Turn a RESULT into captions, or text to read."),
    "retry": ("handler.cli.retry", "Have recordings in BUCKET done again."),
    "cancel": ("handler.cli.cancel", "Do not transcribe recordings in BUCKET after all."),
    "delete": ("handler.cli.delete", "Delete what was made of a recording in BUCKET."),
    "dead": ("handler.cli.dead", "Look at jobs that failed for good, and have them tried again."),
    "cache": ("handler.cli.cache", "Look at, prune, or empty the cache of finished stages."),
    "sweep": ("handler.cli.sweep", "Tell a queue what it missed of BUCKET, and send callbacks."),
    "models": ("handler.cli.models", "See which models there are, fetch them, and put them into a bucket for a fleet."),
    "doctor": ("handler.cli.doctor", "Check this machine, and BUCKET, and say what to do."),
}

EPILOG = """\
\b
A bucket is s3://NAME/PREFIX, file:///PATH, or just a folder's path.
\b
Examples:
  dropscribe run interview.mp3
  dropscribe work ./bucket              then copy recordings into ./bucket/input/
  dropscribe submit *.mp3 --to ./bucket --wait
  dropscribe submit *.mp3 --to ./bucket --batch monday
  dropscribe work s3://my-bucket/calls --drain
  dropscribe work s3://my-bucket/calls --queue my-queue
  dropscribe status s3://my-bucket/calls --watch
  dropscribe export bucket/results/a.mp3.json --to srt -o a.srt
\b
Exit codes:
  0    done, or stopped as asked (a drain in which recordings failed, too)
  1    the job or the command failed
  2    the command line, an option or a setting is wrong
  69   a model or a service is not there; try again later
  73   an output file could not be written
  75   not finished in the time given; try again
  77   a permission is missing
  78   the store cannot keep the protocol's promises
  130  interrupted (143: terminated) before it could stop in order
\b
Settings are DROPSCRIBE_* variables; credentials and endpoints are AWS's own (AWS_PROFILE, AWS_ENDPOINT_URL, …).
"""


class Commands(click.Group):
    """Imports a command when it is called, and turns every error into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, short) for name, (_, short) in COMMANDS.items()])

    def main(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        *,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, standalone_mode=False, **extra)
        given = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(given, prog_name or "dropscribe", standalone_mode=False, **extra)
        except Exception as error:
            from handler.cli.failure import report

            code = report(error, debug="--debug" in given)
        sys.exit(code if isinstance(code, int) else 0)


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"dropscribe {version('dropscribe')}")
        ctx.exit()


@click.group(
    cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@speak_up
@click.pass_context
def main(ctx: click.Context) -> None:
    """Drop a recording into a bucket, read its transcript, in Deepgram's JSON, out of the bucket."""
    ctx.ensure_object(Runtime)
