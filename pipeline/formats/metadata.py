"""The ``metadata`` of Deepgram's pre-recorded JSON: what the pipeline knows of a job as `Facts`, and those facts with
what one input adds, as bytes.

Reads no clock and makes no random id. Knows nothing of words.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.formats.numbers import number
from pipeline.formats.times import iso_time
from pipeline.options import Options
from pipeline.types import Facts, ModelInfo, Transcript, Warning

# The name under which models' ids are made.
_MODELS = uuid.uuid5(uuid.NAMESPACE_URL, "dropscribe:model")


def facts(transcript: Transcript, options: Options, warnings: Iterable[Warning] = ()) -> Facts:
    """What the metadata needs from the pipeline. ``warnings`` go after those of the transcript; each is told once.

    ``channels`` counts those of the result: 1 for a stereo recording that was mixed down. The recogniser is the first
    of ``models``; behind it are those of the other stages.
    """
    beside = () if transcript.diarizer is None else (transcript.diarizer,)
    told = [*transcript.warnings, *_shortfalls(transcript, options), *warnings]
    return Facts(
        duration=transcript.media.duration,
        channels=len(transcript.channels),
        models=tuple(dict.fromkeys((transcript.model, *transcript.companions, *beside))),
        diarizer=transcript.diarizer,
        warnings=tuple(dict.fromkeys(told)),
    )


def _shortfalls(transcript: Transcript, options: Options) -> list[Warning]:
    """What was asked for and cannot be made from this transcript."""
    found = []
    if options.punctuate and not transcript.punctuated:
        message = f"The model {transcript.model.name} does not punctuate: there is no punctuated_word"
        message += ", and sentences end at pauses." if options.paragraphs else "."
        found.append(Warning(parameter="punctuate", type="unsupported_model", message=message))
    if options.detect_language and any(channel.language is None for channel in transcript.channels):
        message = "No language could be detected in at least one channel."
        found.append(Warning(parameter="detect_language", type="not_detected", message=message))
    return found


def metadata_part(
    facts: Facts,
    *,
    request_id: str,
    sha256: str,
    created: float,
    tags: Sequence[str] = (),
    extra: Mapping[str, str] | None = None,
    warnings: Iterable[Warning] = (),
) -> bytes:
    """The whole value of ``"metadata"``, for one input.

    ``request_id``: a UUID; ``sha256``: of the submitted bytes, in hex; ``created``: epoch seconds; ``warnings``: of
    this input's options, after those of the facts. ``tags``, ``extra`` and ``warnings`` stand in it only when there
    are any, ``diarize_info`` only when a diarizer ran.
    """
    models = {model_id(model): model for model in facts.models}
    told = dict.fromkeys([*facts.warnings, *warnings])
    metadata: dict[str, Any] = {
        "transaction_key": "deprecated",
        "request_id": request_id,
        "sha256": sha256,
        "created": iso_time(created),
        "duration": float(number(facts.duration)),
        "channels": facts.channels,
        "models": list(models),
        "model_info": {id: {"name": m.name, "version": m.version, "arch": m.arch} for id, m in models.items()},
    }
    if facts.diarizer is not None:
        metadata["diarize_info"] = {"model_uuid": model_id(facts.diarizer), "arch": facts.diarizer.arch}
    if told:
        metadata["warnings"] = [warning.model_dump() for warning in told]
    if tags:
        metadata["tags"] = list(tags)
    if extra:
        metadata["extra"] = dict(extra)
    return json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode()


def model_id(model: ModelInfo) -> str:
    """A model's UUID, made from its name and the digest of its weights: other weights, another id."""
    return str(uuid.uuid5(_MODELS, json.dumps([model.name, model.revision])))
