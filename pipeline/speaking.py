"""Who speaks when in a job, and whose each word is.

Takes what the job has so far, gives `Made`s and words, and leaves the stage's artifact in the work directory. What
cannot be done, for want of a model, an extra or memory, is a reason, not an error. Knows the models only by what the
request names, and nothing of the order of steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import keep, read
from pipeline.companions import Companions
from pipeline.degrading import Degrading, because
from pipeline.errors import EngineFailure
from pipeline.flow import Made, Report
from pipeline.options import Options
from pipeline.plan import DIARIZING, artifact_name, can_diarize, diarizer_for, people
from pipeline.stages.speakers import by_channel
from pipeline.types import Span, Transcript

if TYPE_CHECKING:
    from pipeline.models import Models
    from pipeline.stages.audio import Audio
    from pipeline.stages.diarize import Few, Many
    from pipeline.stages.turns import Diarization

_SPEAKERS = "Words have no speakers"


class Speakers(Degrading):
    """``work``: where the artifact lies."""

    def __init__(self, work: Path, options: Options, companions: Companions, models: Models) -> None:
        super().__init__(options, companions, models)
        self.diarized = work / artifact_name(DIARIZING)

    def no_diarizer(self) -> str | None:
        """Why there can be no speakers, however many channels the recording has."""
        if can_diarize(self._options, self._companions) or self.diarized.exists():
            return None
        return because(_SPEAKERS, self._missing("diarizer"))

    def diarization(self, transcript: Transcript | None) -> Made | None:
        """What is known of the speakers before anything is heard. ``transcript``: if it is there already."""
        if self.diarized.exists():
            from pipeline.stages.turns import Diarization

            return Made(read(self.diarized, Diarization))
        if self._is_one():
            return Made()
        if transcript is None:
            return None
        if len(transcript.channels) > 1:
            return Made()
        return Made(degraded=because(_SPEAKERS, self._missing("diarizer"))) if self._lacks_a_diarizer() else None

    def diarize(self, audio: Audio, spans: Sequence[Span], report: Report) -> Made:
        """Who speaks when. ``spans``: of speech, in the recording's one track; of several each is a speaker."""
        from pipeline.stages.diarize import diarize
        from pipeline.stages.turns import Diarization

        each_channel = Diarization(step=1.0, frames=0, speakers=0, packed="")

        def told(few: Few | None, many: Many | None) -> Diarization | str:
            return self._attempt(
                ("sortformer", "voices"),
                _SPEAKERS,
                lambda: diarize(audio, spans, people(self._options), few, many, report) or each_channel,
            )

        models = self._attempt((), _SPEAKERS, lambda: self._diarizers(audio, spans))
        if isinstance(models, str):
            return Made(degraded=models)
        few, many = models
        found = told(few, many)
        if isinstance(found, Diarization):
            keep(self.diarized, found.model_dump_json().encode())
            return Made(found)
        if few is None or many is None:
            return Made(degraded=found)
        first = diarizer_for(self._options, self._companions)  # which does not work: the other one may
        second = told(None, many) if first == self._companions.few else told(few, None)
        if isinstance(second, str):
            return Made(degraded=found)
        return Made(second, degraded=found.replace(_SPEAKERS, "Speakers were found by another model", 1))

    def join(self, transcript: Transcript, found: Diarization | None) -> Transcript:
        """Every word with its speaker; as it is where nobody could find any."""
        if len(transcript.channels) > 1 or self._is_one():
            return by_channel(transcript)
        if found is None:
            return transcript
        from pipeline.stages.assignment import from_posteriors

        (channel,) = transcript.channels
        try:
            posteriors = found.posteriors()
        except ValueError as error:
            raise EngineFailure(f"the artifact {self.diarized.name} is damaged: {error}") from error
        words = from_posteriors(channel.words, posteriors, found.step, people(self._options))
        return transcript.model_copy(
            update={
                "channels": (channel.model_copy(update={"words": words}),),
                "diarizer": found.model,
                "warnings": (*transcript.warnings, *found.warnings),
            }
        )

    def _diarizers(self, audio: Audio, spans: Sequence[Span]) -> tuple[Few | None, Many | None]:
        """Those that there are, unless none is needed. `ModelUnavailable`."""
        if audio.tracks > 1 or not spans:
            return None, None
        if self._lacks_a_diarizer():
            raise self._missing("diarizer")
        few, many = self._companions.few, self._companions.many
        return (
            None if few is None else self._models.few(few),
            None if many is None else self._models.many(many),
        )

    def _is_one(self) -> bool:
        """The person says that one person speaks: nobody has to hear who."""
        return people(self._options).alone

    def _lacks_a_diarizer(self) -> bool:
        """Of one channel nobody could tell the speakers apart."""
        return not can_diarize(self._options.model_copy(update={"multichannel": False}), self._companions)
