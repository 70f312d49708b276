"""The stages beside the recogniser, for one job: voices out of music, words' times, punctuation. Speakers are
`pipeline.speaking`'s.

Takes what the job has so far, gives `Made`s, and leaves artifacts in the work directory. What cannot be done, for want
of a model, an extra or memory, is a reason, not an error: the job goes on with less. Knows the models only by what the
request names, and nothing of the order of steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.aligners import for_language
from pipeline.artifacts import keep
from pipeline.companions import Companions
from pipeline.degrading import Degrading, because
from pipeline.errors import ModelUnavailable
from pipeline.flow import Made, Report
from pipeline.formats.text import bare
from pipeline.options import Options
from pipeline.plan import (
    ALIGNING,
    DIARIZING,
    SEPARATING,
    aligners_for,
    artifact_name,
    can_align,
    diarizer_for,
    punctuator_for,
)
from pipeline.types import ChannelTranscript, ModelInfo, Transcript

if TYPE_CHECKING:
    from pipeline.models import Models
    from pipeline.models.aligner import LoadedAligner
    from pipeline.stages.audio import Audio
    from pipeline.stages.separate import Separator

_VOICES = "Voices were not taken out of music"
_MARKS = "Punctuation was not restored"
_TIMES = "Words keep the recogniser's own times"


class Conversation(Degrading):
    """``work``: where artifacts lie. Its methods may run side by side, each of them once."""

    def __init__(self, work: Path, options: Options, companions: Companions, models: Models) -> None:
        super().__init__(options, companions, models)
        self.stem = work / artifact_name(SEPARATING)
        self.aligned = work / artifact_name(ALIGNING)

    # ── what there is to do it with ─────────────────────────────────────────────────────────────────────────────────

    def no_separator(self) -> str | None:
        """Why nothing can be separated; None if it can, or if it depends on the recording whether it has to be."""
        if self._options.stemming != "true" or self._companions.separator is not None or self.stem.exists():
            return None
        return because(_VOICES, self._missing("separator"))

    def no_aligner(self) -> str | None:
        """Why nothing can be aligned, in whatever language the words are."""
        if can_align(self._options, self._companions) or self.aligned.exists():
            return None
        if not self._companions.aligners:
            return because(_TIMES, self._missing("aligner"))
        try:
            for_language(self._options.language, self._companions.aligners)
        except ModelUnavailable as error:
            return because(_TIMES, error)
        return None

    def by(self, stage: str) -> str:
        """What does the work of a stage, for telling rates apart."""
        companions, options = self._companions, self._options
        used: dict[str, Sequence[ModelInfo]] = {
            SEPARATING: [one.info for one in (companions.separator,) if one is not None],
            ALIGNING: [one.info for one in aligners_for(options, companions)],
            DIARIZING: [one.info for one in (diarizer_for(options, companions),) if one is not None],
        }
        return " ".join(one.revision for one in used[stage])

    # ── separating ──────────────────────────────────────────────────────────────────────────────────────────────────

    def separate(
        self, source: Path, audio: Audio, folder: Path, report: Report, *, max_duration: float | None = None
    ) -> Made:
        """The voices of ``source``, which was decoded as ``audio``; None where there is no music. ``folder``: for
        them, must not exist.
        """
        from pipeline.voices import voices

        there, asked = self.stem.exists(), self._options.stemming
        assert asked != "false"

        def load() -> Separator:
            if self._companions.separator is None:
                raise self._missing("separator")
            return self._models.separator(self._companions.separator)

        def act() -> Audio | None:
            return voices(
                source, audio, folder, self.stem, load, report,
                asked=asked, per_channel=self._options.multichannel, max_duration=max_duration,
            )  # fmt: skip

        found = self._attempt(("separator",), _VOICES, act)
        if isinstance(found, str):
            return Made(degraded=found)
        return Made(found, own=not there)

    def heard_by(self, transcript: Transcript, voices: Audio | None) -> Transcript:
        """With the separator among its models, if it was made of separated voices."""
        if voices is None or self._companions.separator is None:
            return transcript
        return transcript.model_copy(update={"companions": (self._companions.separator.info,)})

    # ── aligning ────────────────────────────────────────────────────────────────────────────────────────────────────

    def align(self, transcript: Transcript, sound: Audio, report: Report) -> Made:
        """The transcript with the times at which its words are heard; where that cannot be, with those it has."""
        from pipeline.stages.align import aligned

        aligners = self._models.aligners(self._companions.aligners)
        used: dict[ModelInfo, None] = {}

        def find(language: str | None) -> LoadedAligner:
            found = aligners.get(language)
            used[found.model.info] = None
            return found

        made = self._attempt(("aligners",), _TIMES, lambda: aligned(transcript, sound, find, report))
        if isinstance(made, str):
            return Made(transcript, degraded=made)
        better = made.transcript.model_copy(update={"companions": (*transcript.companions, *used)})
        if made.lacking is None:
            keep(self.aligned, better.model_dump_json().encode())
        return Made(better, degraded=made.lacking)

    # ── punctuation ─────────────────────────────────────────────────────────────────────────────────────────────────

    def restore(self, transcript: Transcript, report: Report) -> Made:
        """With case and punctuation where they are missing: everywhere, if the recogniser writes none."""
        from pipeline.stages.punctuation import missing, restored

        model = punctuator_for(self._options, self._companions)
        assert model is not None
        lacking = [missing(channel.words, punctuated=transcript.punctuated) for channel in transcript.channels]
        if not any(lacking):
            return Made(transcript)

        def act() -> tuple[ChannelTranscript, ...]:
            found, punctuator = [], self._models.punctuator(model)
            for channel, stretches in zip(transcript.channels, lacking, strict=True):
                words = channel.words
                for first, stop in stretches:
                    texts = [bare(word.text) for word in words[first:stop]]
                    words = restored(words, first, punctuator.marks(texts))
                    report(0.0, None)
                found.append(channel.model_copy(update={"words": words}))
            return tuple(found)

        channels = self._attempt(("punctuator",), _MARKS, act)
        if isinstance(channels, str):
            return Made(transcript, degraded=channels)
        named = (*transcript.companions, model.info)
        return Made(transcript.model_copy(update={"channels": channels, "punctuated": True, "companions": named}))
