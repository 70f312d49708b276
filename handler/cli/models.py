"""``dropscribe models list``, ``models pull`` and ``models push``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import click

from handler.cli.runtime import Runtime, standard, start_log
from handler.cli.screen import cell, note, progress_bars, show, size, table, write_json
from handler.clock import Clock
from handler.errors import NotFound, Usage
from handler.models.entry import Entry
from handler.models.hub import convert, fetch
from handler.models.library import mirror_of
from handler.models.mirror import Mirror
from handler.models.places import NAME
from handler.models.push import beside_called, parcel, push, push_into_folder
from handler.models.survey import survey
from handler.models.wares import COMPANIONS, WHISPERS, AnyRecord, Wares
from handler.settings import Settings, load_settings
from handler.store.base import Store
from pipeline.aligners import AlignerModel
from pipeline.beside import Companion, look
from pipeline.catalog import HUB, canonical_name, resolve, whisper_in
from pipeline.errors import ModelUnavailable
from pipeline.family import pinned, short, split_pin
from pipeline.known import known_name
from pipeline.shelf import is_bucket, source_folder

TYPES = ("int8", "int8_float16", "int8_float32", "int8_bfloat16", "int16", "float16", "bfloat16", "float32")


@click.group("models")
def command() -> None:
    """See which models there are, fetch them, and put them into a bucket for a fleet."""


@command.command("list")
@click.argument("source", required=False)
@click.option("--verify", is_flag=True, help="Compare every file that is here with its recorded checksum.")
@standard
@click.pass_obj
def list_(runtime: Runtime, source: str | None, verify: bool, as_json: bool) -> None:
    """List the models on this machine, those in SOURCE, and those that could be fetched.

    SOURCE is s3://BUCKET/PREFIX or a folder; what DROPSCRIBE_MODELS says, if it is not given. Sizes of models that are
    not here are about those of their downloads; licences are those that their repositories state.
    """
    start_log()
    settings = load_settings(models=source)
    bucket = beside = None
    if is_bucket(settings.models):
        bucket, beside = (
            _mirror(settings.models or "", settings, runtime, wares=wares) for wares in (WHISPERS, COMPANIONS)
        )
    found = survey(settings.models, settings.home, bucket, beside, verify=verify)
    if as_json:
        entries = [entry.model_dump(mode="json") for entry in found]
        write_json({"home": str(settings.home), "source": settings.models, "models": entries})
    else:
        _show(found)
    damaged = [f"{entry.name} ({entry.folder or settings.models}): {entry.problem}" for entry in found if entry.problem]
    if verify and damaged:
        raise ModelUnavailable(
            f"{len(damaged)} of the models are damaged: {'; '.join(damaged)}",
            "Delete the folder and pull the model again; push one again that is damaged in a bucket.",
        )


@command.command("pull")
@click.argument("name")
@click.option("--from", "source", metavar="SOURCE", help="s3://BUCKET/PREFIX, a folder, or hub.")
@click.option(
    "--convert", "quantization", type=click.Choice(TYPES), is_flag=False, flag_value="float16",
    help="NAME is a Whisper for Hugging Face's transformers, a repository or a folder: make a model of it, with "
    "weights of this type (float16 if none is given).",
)  # fmt: skip
@click.option("--as", "called", metavar="NAME", help="With --convert: what the model is called here.")
@standard
@click.pass_obj
def pull(
    runtime: Runtime, name: str, source: str | None, quantization: str | None, called: str | None, as_json: bool
) -> None:
    """Bring the model NAME to this machine.

    From SOURCE, or from the bucket that DROPSCRIBE_MODELS names, or from the hub. NAME is one that `models list`
    shows, or a repository OWNER/NAME of the hub; NAME@REVISION is just that revision. What was cut off is taken up
    again.
    """
    start_log()
    settings = load_settings()
    if quantization is not None:
        model = _converted(name, source, quantization, called, settings)
    elif called is not None:
        raise Usage("--as is for --convert: other models keep their names", "Leave it out.")
    else:
        where = source or (settings.models if is_bucket(settings.models) else HUB) or HUB
        model = _pulled(name, where, settings, runtime)
    if as_json:
        told = {"name": model.name, "revision": model.revision, "version": model.version, "folder": model.folder}
        write_json(told)
    else:
        note(f"{model.name} ({model.version}) is in {model.folder}")


@command.command("push")
@click.argument("name")
@click.argument("destination")
@standard
@click.pass_obj
def push_(runtime: Runtime, name: str, destination: str, as_json: bool) -> None:
    """Put the model NAME of this machine into DESTINATION, for workers that cannot reach the hub.

    DESTINATION is s3://BUCKET/PREFIX or a folder: what those workers' DROPSCRIBE_MODELS then names. NAME is a model's
    name, NAME@REVISION, or the path of its folder. Nobody sees the model before all of it is there; what is there
    already is not sent again.
    """
    start_log()
    settings = load_settings()
    found = parcel(name, settings.models, settings.home)
    kept, record = found.name, found.record
    with _bar(f"Pushing {kept}", sum(record.files.values())) as sent:
        if is_bucket(destination):
            store = runtime.store(destination, runtime.clock, settings)
            done = push(store, kept, found.folder, record, sent, found.wares)
        else:
            target = source_folder(destination, settings.home)
            if target is None or "://" in str(destination).removeprefix("file://"):
                raise Usage(f"{destination} is no place to push a model to", "Give s3://BUCKET/PREFIX, or a folder.")
            done = push_into_folder(target.absolute(), kept, found.folder, record, runtime.clock, sent, found.wares)
    if as_json:
        write_json({"name": done.name, "revision": done.revision, "where": done.where, "bytes": done.bytes,
                    "already": done.already})  # fmt: skip
    elif done.already:
        note(f"{kept} ({found.version}) is in {destination} already.")
    else:
        note(f"{kept} ({found.version}), {size(done.bytes)}, is in {destination}: set DROPSCRIBE_MODELS to it.")


# ── pulling ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _pulled(name: str, source: str, settings: Settings, runtime: Runtime) -> _Here:
    bare, _ = split_pin(name)
    if source == HUB:
        fetch(name, settings.home)
        return _of_this_machine(name, None, settings.home)
    if not is_bucket(source):
        found = parcel(name, source, settings.home / "none")
        with _bar(f"Copying {found.name}", sum(found.record.files.values())) as sent:
            push_into_folder(settings.home, found.name, found.folder, found.record, runtime.clock, sent, found.wares)
        return _of_this_machine(pinned(found.name, found.record.revision[:16]), None, settings.home)
    folder = None if source == settings.models else settings.home
    kept = known_name(bare) or canonical_name(bare)
    with progress_bars() as bars:
        task = bars.add_task(f"Pulling {kept}", total=None, note="")
        sorts = [
            _mirror(source, settings, runtime, lambda count: bars.advance(task, count), folder, wares)
            for wares in (WHISPERS, COMPANIONS)
        ]
        bucket, record = _in_one_of(sorts, kept, source)
        if (pin := split_pin(name)[1]) is not None and not record.revision.startswith(pin):
            raise ModelUnavailable(
                f"{source} has the model {kept} at the revision {record.revision[:12]}, not {pin}",
                f"Ask for {pinned(kept, record.revision[:12])}, or push the other one.",
            )
        bars.update(task, total=sum(record.files.values()))
        place = bucket.pull(kept)
        return _of_folder(place, kept)


def _in_one_of(sorts: Sequence[Mirror], name: str, source: str) -> tuple[Mirror, AnyRecord]:
    for bucket in sorts:
        with suppress(NotFound):
            return bucket, bucket.record(name)
    there = [one for bucket in sorts for one in bucket.list()]
    at_hand = f"There {'are' if len(there) > 1 else 'is'} {', '.join(there)}." if there else ""
    push_it = f"Put it there: `dropscribe models push {name} {source}`."
    raise ModelUnavailable(f"there is no model {name} in {source}", f"{at_hand} {push_it}".strip())


class _Here(NamedTuple):
    """A model of this machine, of whichever sort."""

    name: str
    revision: str
    version: str
    folder: str | None


def _of_this_machine(name: str, models: str | None, home: Path) -> _Here:
    found = beside_called(name, models, home)
    if found is not None:
        return _Here(found.info.name, found.info.revision, found.info.version, str(found.folder))
    model = resolve(name, models, home, trusted=True)
    return _Here(model.name, model.revision, model.version, model.folder)


def _of_folder(place: Path, name: str) -> _Here:
    found = look(place, name)
    if isinstance(found, (Companion, AlignerModel)):
        return _Here(name, found.info.revision, found.info.version, str(found.folder))
    model = whisper_in(place, name)
    return _Here(model.name, model.revision, model.version, model.folder)


def _converted(name: str, source: str | None, quantization: str, called: str | None, settings: Settings) -> _Here:
    if source not in (None, HUB):
        raise Usage("--convert takes a repository of the hub, or a folder's path", "Leave --from out.")
    bare, _ = split_pin(name)
    kept = canonical_name(called or (Path(bare).absolute().name if Path(bare).is_dir() else bare))
    if not NAME.fullmatch(kept):
        raise Usage(f"{short(kept)} cannot be a model's name", "Give it one with --as.")
    given = str(Path(name).absolute()) if Path(name).is_dir() else name
    convert(given, settings.home, quantization, kept)
    return _of_this_machine(kept, None, settings.home)


def _mirror(
    url: str,
    settings: Settings,
    runtime: Runtime,
    told: Callable[[int], None] = lambda count: None,
    folder: Path | None = None,
    wares: Wares = WHISPERS,
) -> Mirror:
    def opened(url: str, clock: Clock) -> Store:
        return runtime.store(url, clock, settings)

    return mirror_of(url, settings, runtime.clock, told=told, opened=opened, folder=folder, wares=wares)


@contextmanager
def _bar(words: str, total: int) -> Iterator[Callable[[int], None]]:
    with progress_bars() as bars:
        task = bars.add_task(words, total=total, note="")
        yield lambda count: bars.advance(task, count)


# ── showing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _show(entries: list[Entry]) -> None:
    made = table("NAME", "KIND", "SIZE", "LANGUAGES", "LICENCE", "REVISION", "WHERE", right=("SIZE",))
    for entry in entries:
        here = entry.where != ("hub",)
        about = size(entry.size) if entry.size is not None else ""
        where = ", ".join(entry.where) if here else "not here"
        if entry.problem:
            where += f" ({entry.problem})"
        elif not entry.current:
            where += " (another revision)"
        made.add_row(
            cell(entry.name),
            entry.backend if entry.kind == "recogniser" else entry.kind,
            about if here or not about else f"about {about}",
            entry.languages,
            entry.licence,
            cell(entry.version),
            cell(where, "red" if entry.problem else "" if here else "dim"),
        )
    show(made)
