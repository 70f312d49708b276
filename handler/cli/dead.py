"""``dropscribe dead list`` and ``dead retry``: jobs that failed for good."""

from __future__ import annotations

import click

from handler.cli.bucket import open_bucket
from handler.cli.runtime import Runtime, escaped, standard, start_log
from handler.cli.screen import cell, note, show, table, write_json
from handler.dead import DeadLetter, dead_letters, retry_dead
from handler.errors import NotFound, Usage
from handler.job import Jobs
from handler.retry import Retry


@click.group("dead")
def command() -> None:
    """Look at jobs that failed for good, and have them tried again."""


@command.command("list")
@click.argument("bucket")
@standard
@click.pass_obj
def list_(runtime: Runtime, bucket: str, as_json: bool) -> None:
    """List the jobs of BUCKET that failed for good, newest first.

    Recordings that failed before there was a job (wrong options, an empty file) are not among them: `dropscribe status`
    lists those, too.
    """
    start_log()
    opened = open_bucket(bucket, runtime)
    letters = dead_letters(opened.store, opened.layout)
    if as_json:
        told = [letter.model_dump(mode="json", exclude={"waiting"}) for letter in letters]
        write_json({"bucket": opened.store.url, "jobs": told})
    elif not letters:
        note("No job has failed for good.")
    else:
        _show(letters)


@command.command("retry")
@click.argument("bucket")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--all", "every", is_flag=True, help="Every job that failed for good.")
@standard
@click.pass_obj
def retry_(runtime: Runtime, bucket: str, keys: tuple[str, ...], every: bool, as_json: bool) -> None:
    """Have jobs of BUCKET that failed for good tried again.

    By the keys of their recordings, or --all. Mend the cause first: what failed for good fails again otherwise. They
    start with all their attempts; stages that are in the cache are not run again.
    """
    start_log()
    if bool(keys) == every:
        raise Usage("name the recordings, or say --all, but not both", "`dropscribe dead list BUCKET` lists them.")
    opened = open_bucket(bucket, runtime)
    letters = dead_letters(opened.store, opened.layout)
    dead = {key for letter in letters for key in letter.keys}
    wanted = {key if key in dead else key.removeprefix(opened.layout.input) for key in keys}
    if unknown := sorted(wanted - dead):
        raise NotFound(
            f"{unknown[0]} is not among the jobs that failed for good",
            "`dropscribe dead list BUCKET` lists them; `dropscribe retry` takes any recording.",
        )
    jobs = Jobs(opened.store, opened.layout, runtime.clock, opened.settings, f"retry-{runtime.clock.new_id()[:8]}")
    done = list(retry_dead(letters, Retry(jobs), None if every else wanted))
    if as_json:
        write_json({"bucket": opened.store.url, "inputs": [one.model_dump(mode="json") for one in done]})
        return
    for one in done:
        click.echo(escaped(f"{one.key} ({one.was}) will be done again."))
    if not done:
        note("There is nothing to retry: the recordings are gone, or were replaced by other versions.")


def _show(letters: list[DeadLetter]) -> None:
    made = table("RECORDINGS", "WHEN", "ATTEMPTS", "CLASS", "MESSAGE", right=("ATTEMPTS",))
    for letter in letters:
        made.add_row(
            cell(", ".join(letter.keys)),
            letter.at or "",
            str(letter.attempts),
            letter.error_class,
            cell(letter.message),
        )
    show(made)
