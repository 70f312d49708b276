"""Checks of what transcribes: which model the defaults mean, and whether an engine starts and answers."""

from __future__ import annotations

import contextlib
import hashlib
import io
import tempfile
import wave
from pathlib import Path

from handler.cli.doctor.finding import Context, Finding
from handler.cli.failure import as_error, explained
from handler.models.library import mirror_of
from handler.worker.scratch import made
from pipeline.catalog import AUTO, HUB, SUGGESTED, canonical_name, fetch_command, resolve
from pipeline.errors import ModelUnavailable
from pipeline.options import Options
from pipeline.plan import stage_plans
from pipeline.shelf import is_bucket
from pipeline.types import SAMPLE_RATE, Failed, JobRequest

_SECONDS = 120.0  # that an engine may take to start and to answer, models included
_POLL_SECONDS = 0.2


def default_model(context: Context) -> Finding:
    settings = context.settings
    try:
        model = resolve(settings.model, settings.models, settings.home, trusted=True)
    except ModelUnavailable as error:
        if settings.models == HUB:
            return Finding(
                status="warn", detail=error.message, advice="`dropscribe work` fetches it from the hub when it starts."
            )
        if is_bucket(settings.models) and (there := _in_bucket(context)):
            advice = f"`dropscribe work` brings it when it starts: the bucket has {', '.join(there)}."
            return Finding(status="warn", detail=error.message, advice=advice)
        return Finding(status="fail", detail=error.message, advice=error.hint)
    detail = f"DROPSCRIBE_MODEL={settings.model} means {model.name} ({model.backend}, {model.version})"
    if model.automatic:
        advice = f"Its transcripts are poor. Run `{fetch_command(SUGGESTED)}` for good ones."
        return Finding(status="warn", detail=detail, advice=advice)
    return Finding(status="ok", detail=detail)


def _in_bucket(context: Context) -> list[str]:
    """The models in the bucket that DROPSCRIBE_MODELS names, if the default one is among them; none is brought."""
    settings = context.settings
    names = mirror_of(settings.models or "", settings, context.runtime.clock).list()
    wanted = canonical_name(settings.model.partition("@")[0])
    return names if wanted == AUTO or wanted in names else []


def engine_answers(context: Context) -> Finding:
    """The real child process and the default model, on a second of silence."""
    settings, clock = context.settings, context.runtime.clock
    try:
        model = resolve(settings.model, settings.models, settings.home, trusted=True)
    except ModelUnavailable:
        model = resolve("sphinx", None, settings.home)  # the check above says what is wrong with the default
    made(settings.work_dir)
    engine = context.runtime.engine(clock, settings.work_dir, settings)
    started = clock.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="doctor-", dir=settings.work_dir) as work:
            sound = _silence()
            (Path(work) / "source.wav").write_bytes(sound)
            request = JobRequest(
                work=work,
                source="source.wav",
                options=Options().model_dump(mode="json"),
                model=model.model_dump(mode="json"),
                seed=stage_plans(hashlib.sha256(sound).hexdigest(), Options(), model)[-1].digest,
            )
            events = engine.run(request, time_limit=lambda duration: _SECONDS, poll=_POLL_SECONDS)
            with contextlib.closing(events):  # type: ignore[type-var]
                for event in events:
                    if isinstance(event, Failed):
                        return Finding(status="fail", detail=explained(as_error(event.error))[0])
    finally:
        engine.close()
    return Finding(
        status="ok", detail=f"started, and answered a second of silence, in {clock.monotonic() - started:.1f} s"
    )


def _silence() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(bytes(2 * SAMPLE_RATE))
    return out.getvalue()
