"""``dropscribe export``: captions and text out of a result that is there already, ours or Deepgram's own.

No engine, no model, nothing written but the file that was asked for.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from handler.cli.files import check_output, write_output
from handler.cli.runtime import Runtime, standard, start_log
from handler.cli.screen import note, write_json
from handler.errors import Usage
from handler.settings import load_settings
from pipeline.errors import NotAResult
from pipeline.formats.captions import Captions
from pipeline.formats.captions.names import MAX_BYTES, read_names
from pipeline.options import OUTPUTS

_HINT = "Give a whole result, as Deepgram or dropscribe writes it."


@click.command("export")
@click.argument("result")
@click.option("--to", "kind", type=click.Choice(OUTPUTS), help="What to make. Left out, the ending of -o says it.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file instead of stdout."
)
@click.option(
    "--speakers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='Names of speakers, {"0": "Alice", "1": "Bob"}.',
)
@standard
@click.pass_obj
def command(
    runtime: Runtime, result: str, kind: str | None, output: Path | None, speakers: Path | None, as_json: bool
) -> None:
    """Turn a RESULT into captions, or text to read.

    RESULT is a file with Deepgram's JSON, from here or from Deepgram, or s3://NAME/KEY of one.
    """
    start_log()
    kind = kind or _kind_of(output)
    if output is not None:
        check_output(output)
        _check_apart(output, kind, result)
    names = _names(speakers) if speakers is not None else {}
    parsed = _parsed(result, _read(result, runtime))
    try:
        captions = Captions(parsed, names, file=_recording(result))
    except NotAResult as error:
        raise NotAResult(f"{result}: {error.message}", error.hint) from error
    if not captions.words:
        raise NotAResult(f"{result} has no words, so there is nothing to show", "Was there any speech?")
    made = captions.render(kind)
    if output is not None:
        write_output(output, made.encode())
    if as_json:
        write_json({"kind": kind, "output": None if output is None else str(output), "text": made})
    elif output is None:
        click.echo(made, nl=False)
    else:
        note(f"{output} is written.")


def _kind_of(output: Path | None) -> str:
    kind = "" if output is None else output.suffix.removeprefix(".").lower()
    if kind not in OUTPUTS:
        raise Usage("what is to be made?", f"Give --to {', '.join(OUTPUTS[:-1])} or {OUTPUTS[-1]}.")
    return kind


def _check_apart(output: Path, kind: str, result: str) -> None:
    """`Usage` where the result itself would be overwritten, or captions would lie under another kind's ending."""
    source = Path(result.removeprefix("file://"))
    if output.exists() and source.exists() and output.samefile(source):
        raise Usage(f"{output} is the result itself", f"Give another file to -o, for example {source.stem}.{kind}.")
    ending = output.suffix.removeprefix(".").lower()
    if ending != kind and ending in (*OUTPUTS, "json"):
        raise Usage(
            f"--to {kind} does not fit {output}, which would be taken for {ending}",
            f"Give -o {output.stem}.{kind}" + (f", or --to {ending}." if ending in OUTPUTS else "."),
        )


def _read(result: str, runtime: Runtime) -> bytes:
    """`NotFound` and its like of an object, OSError of a file."""
    scheme, separator, rest = result.partition("://")
    if separator and scheme.lower() == "s3":
        bucket, _, key = rest.partition("/")
        if not bucket or not key or key.endswith("/"):
            raise Usage(f"{result} names no object", "Give s3://NAME/KEY, for example s3://calls/results/a.mp3.json.")
        return runtime.store(f"s3://{bucket}", runtime.clock, load_settings()).get(key).body
    if separator and scheme.lower() != "file":
        raise Usage(f"{result} is no place that is known here", "Give a file's path, or s3://NAME/KEY.")
    path = Path(rest if separator else result)
    if not path.is_file():
        raise Usage(f"there is no file {path}", "Give a result, for example bucket/results/a.mp3.json.")
    return path.read_bytes()


def _parsed(result: str, body: bytes) -> dict[str, object]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotAResult(f"{result} is no Deepgram result: it is not JSON", _HINT) from error
    if not isinstance(value, dict):
        raise NotAResult(f"{result} is no Deepgram result: it is not a JSON object", _HINT)
    return value


def _names(path: Path) -> dict[str, str]:
    """What is wrong with some names is a note; a file of which nothing can be used is an error."""
    with path.open("rb") as file:
        found = read_names(file.read(MAX_BYTES + 1))
    if found.problem and not found.names:
        raise Usage(f"{path}: {found.problem}")
    if found.problem:
        note(f"Note: {path}: {found.problem}")
    return found.names


def _recording(result: str) -> str:
    """What the recording is called, by its result's name."""
    return result.rstrip("/").rpartition("/")[2].removesuffix(".json")
