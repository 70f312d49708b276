"""``dropscribe doctor``: one list of checks, each a small function in its own place.

A new check is one function `Context -> Finding` and one entry in `MACHINE`, `BUCKET` or `QUEUE`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from handler.cli.doctor.access import clock, permissions
from handler.cli.doctor.beside import companions
from handler.cli.doctor.bucket import bucket_answers, bucket_is_safe, inputs_can_be_listed
from handler.cli.doctor.compute import cuda_libraries, gpus, models, probe_encode
from handler.cli.doctor.engine import default_model, engine_answers
from handler.cli.doctor.finding import Context, Finding
from handler.cli.doctor.machine import packages, python_version, settings_known, work_directory
from handler.cli.doctor.room import memory, models_disk, versions
from handler.cli.doctor.told import notifications, queue
from handler.cli.failure import explained
from handler.cli.runtime import Runtime, standard, start_log
from handler.cli.screen import cell, show, styled, table, write_json
from handler.errors import EXIT_FAILED, Usage
from handler.settings import load_settings

Check = Callable[[Context], Finding]

MACHINE: tuple[tuple[str, Check], ...] = (
    ("python", python_version),
    ("packages", packages),
    ("versions", versions),
    ("settings", settings_known),
    ("work directory", work_directory),
    ("disk of models", models_disk),
    ("memory", memory),
    ("model", default_model),
    ("engine", engine_answers),
    ("models", models),
    ("models beside", companions),
    ("gpus", gpus),
    ("cuda libraries", cuda_libraries),
    ("probe encode", probe_encode),
)
BUCKET: tuple[tuple[str, Check], ...] = (
    ("bucket", bucket_answers),
    ("recordings", inputs_can_be_listed),
    ("permissions", permissions),
    ("conditional writes", bucket_is_safe),
    ("clock", clock),
)
QUEUE: tuple[tuple[str, Check], ...] = (
    ("queue", queue),
    ("notifications", notifications),
)


@click.command("doctor")
@click.argument("bucket", required=False)
@click.option("--queue", "told", metavar="URL|NAME", help="Check the SQS queue that is told what is dropped, too.")
@click.option(
    "--only", metavar="CHECK", multiple=True, type=click.Choice([name for name, _ in (*MACHINE, *BUCKET, *QUEUE)]),
    help="Make this check alone (may be repeated): quick enough to ask often.",
)  # fmt: skip
@standard
@click.pass_context
def command(ctx: click.Context, bucket: str | None, told: str | None, only: tuple[str, ...], as_json: bool) -> None:
    """Check this machine, and BUCKET, and say what to do.

    The exit code is 1 if a check failed. Nothing is changed; in a bucket a few small objects are written and deleted
    again, and of a queue a message may be received that others see again at once.
    """
    start_log()
    runtime: Runtime = ctx.obj
    context = Context(settings=load_settings(), runtime=runtime, url=bucket, queue=told)
    found = examine(_chosen(context, only), context)
    if as_json:
        rows = [{"name": name, **one.model_dump(mode="json")} for name, one in found]
        write_json({"ok": not _failed(found), "bucket": bucket, "checks": rows})
    else:
        _show(found)
    if _failed(found):
        ctx.exit(EXIT_FAILED)


def _chosen(context: Context, only: Sequence[str]) -> list[tuple[str, Check]]:
    """`Usage` for a check of what was not named."""
    if context.queue is not None and context.url is None:
        raise Usage("--queue is checked together with its bucket", "Name BUCKET, too: s3://NAME/PREFIX.")
    there = [*MACHINE, *(BUCKET if context.url is not None else ()), *(QUEUE if context.queue is not None else ())]
    absent = set(only).difference(name for name, _ in there)
    if absent:
        raise Usage(f"nothing to check for {', '.join(sorted(absent))}", "Name BUCKET, and --queue for a queue.")
    return [(name, check) for name, check in there if not only or name in only]


def examine(checks: Sequence[tuple[str, Check]], context: Context) -> list[tuple[str, Finding]]:
    """Each check's name and finding. One that raises has failed, with the error's own words; the others go on. The same
    words are not said twice.
    """
    found: list[tuple[str, Finding]] = []
    said: dict[str, str] = {}  # error → the check that met it first
    for name, check in checks:
        try:
            found.append((name, check(context)))
        except Exception as error:
            line, _ = explained(error)
            first = said.setdefault(line, name)
            detail = line if first == name else f"the same as for the {first}"
            found.append((name, Finding(status="fail", detail=detail)))
    return found


def _failed(found: Sequence[tuple[str, Finding]]) -> bool:
    return any(one.status == "fail" for _, one in found)


def _show(found: Sequence[tuple[str, Finding]]) -> None:
    made = table("CHECK", "", "WHAT WAS FOUND")
    for name, one in found:
        made.add_row(name, styled(one.status), cell(one.detail))
        if one.advice:
            made.add_row("", "", cell(f"→ {one.advice}", "bold"))
    show(made)
