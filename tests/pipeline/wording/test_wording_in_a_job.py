"""The text options in a job of the engine: from a transcript that is there already, and while it is being made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.catalog import Model, resolve
from pipeline.models import Models
from pipeline.models.base import Batch, Recogniser, Request, Window
from pipeline.options import Options
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING, artifact_name
from pipeline.run import run_job
from pipeline.types import Event, JobRequest, Progress, StageDone, Warning, Word
from tests.pipeline import media
from tests.pipeline.wording.rewording import spoken


class Reader:
    """Hears the same words in every window: no sound is needed to see what is told."""

    punctuates = True
    fills_windows = True

    def __init__(self, model: Model) -> None:
        self.model = model

    def check(self, request: Request) -> tuple[Warning, ...]:
        return ()

    def warnings(self) -> tuple[Warning, ...]:
        return ()

    def transcribe(self, windows: Iterator[Window], request: Request) -> Iterator[Batch]:
        for window in windows:
            word = Word(text="5.", start=window.start, end=window.end, confidence=1.0)
            yield Batch(words=(word,), seconds=window.seconds, language="en")


class Readers(Models):
    def get(self, model: Model) -> Recogniser:
        return Reader(model)


def _run(work: Path, source: str, **options: Any) -> tuple[dict[str, Any], list[Event]]:
    request = JobRequest(
        work=str(work),
        source=source,
        options=Options(**options).model_dump(mode="json"),
        model=resolve("sphinx", None, work).model_dump(mode="json"),
        seed="5eed" * 16,
    )
    events: list[Event] = []
    run_job(work, request, Readers(), events.append)
    return json.loads((work / artifact_name(GENERATING_OUTPUT)).read_bytes()), events


def test_options_reword_what_lies_there(tmp_path: Path) -> None:
    """Words, utterances and paragraphs come from the reworded words, and what could not be done is in the facts."""
    heard = spoken("Um, it costs twenty five dollars. Ja.", language="en")
    (tmp_path / artifact_name(TRANSCRIBING)).write_text(heard.model_dump_json())
    results, events = _run(tmp_path, "none", smart_format=True)
    (alternative,) = results["channels"][0]["alternatives"]
    assert alternative["transcript"] == "It costs $25. Ja."
    assert [word["word"] for word in alternative["words"]] == ["it", "costs", "$25", "ja"]
    assert alternative["words"][2] | {"start": 1.5, "end": 2.9, "punctuated_word": "$25."} == alternative["words"][2]
    (paragraph,) = alternative["paragraphs"]["paragraphs"]
    assert paragraph["num_words"] == sum(len(one["words"]) for one in results["utterances"]) == 4
    foreign = heard.model_copy(
        update={"channels": (heard.channels[0].model_copy(update={"language": "sv"}),)}
    ).model_dump_json()
    (tmp_path / artifact_name(TRANSCRIBING)).write_text(foreign)
    _, events = _run(tmp_path, "none", smart_format=True)
    (facts,) = [event.facts for event in events if isinstance(event, StageDone) and event.facts is not None]
    assert ("smart_format", "unsupported_language") in [(one.parameter, one.type) for one in facts.warnings]


@pytest.mark.parametrize("masking", [{"redact": ("numbers",)}, {"profanity_filter": True}, {}])
def test_what_is_masked_is_not_told_while_the_job_runs(tmp_path: Path, masking: dict[str, Any]) -> None:
    """The manifest's partial transcript is the recogniser's own: with a mask asked for, there is none."""
    (tmp_path / "source.flac").symlink_to(media.JFK)
    results, events = _run(tmp_path, "source.flac", **masking)
    told = [event for event in events if isinstance(event, Progress) and event.total is not None]
    assert told
    assert all((event.partial is None) == bool(masking) for event in told)
    assert ("****" in json.dumps(results)) == ("redact" in masking)
