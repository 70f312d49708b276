"""Jobs with all of the stages, whose models are scripted: what they say is known, and what they were asked is noted.

Decoding, speech detection, the separator's windows, the aligner's Viterbi, words by speaker and the formats are the
real ones. `Cached` does with artifacts what the handler does: it lays those into a new work directory whose recipes it
has, and takes what a job tells to be done.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.catalog import Model
from pipeline.companions import Companions
from pipeline.errors import ModelUnavailable
from pipeline.models import Models
from pipeline.models.base import Batch, Request, Window
from pipeline.options import Options
from pipeline.plan import GENERATING_OUTPUT, StagePlan, made_of, stage_plans
from pipeline.run import run_job
from pipeline.types import Event, JobRequest, StageDone, Word
from tests.pipeline.alignment.align_rig import BLANK, COLUMNS, FRAME, STEP
from tests.pipeline.alignment.ctc_reference import spoken
from tests.pipeline.company import EVERYTHING
from tests.pipeline.diarization.listeners import Known
from tests.pipeline.test_separate import Passing

RECOGNISER = Model(name="scripted", backend="whisper", revision="r", version="1", arch="none")
SAID = ("Hello,", "is", "it", "you?", "Yes.", "Good.")  # a word every second, from 0.2 s on


class Recogniser:
    """Says its words, whatever it hears, of which it notes the loudest."""

    model = RECOGNISER
    punctuates = True
    fills_windows = True

    def __init__(self, models: Scripted) -> None:
        self._models = models

    def check(self, request: Request) -> tuple[Any, ...]:
        return ()

    def warnings(self) -> tuple[Any, ...]:
        return ()

    def transcribe(self, windows: Sequence[Window], request: Request) -> Iterator[Batch]:
        self._models.note("transcribing")
        heard = [float(np.abs(window.samples).max()) for window in windows]
        self._models.loudest["transcribing"] = max(heard, default=0.0)
        language = request.language or self._models.language
        words = tuple(
            Word(text=text, start=nth + 0.2, end=nth + 0.7, confidence=0.9)
            for nth, text in enumerate(self._models.said)
        )
        seconds = sum(window.seconds for window in windows)
        yield Batch(words=words if heard else (), seconds=seconds, language=language)


class Aligner:
    """Hears each letter of the words in turn, from the first to the last of a piece."""

    batch = 4
    columns = COLUMNS
    step = STEP
    delay = 0.0

    def __init__(self, models: Scripted, model: Any) -> None:
        self._models = models
        self.model = model

    def emissions(self, pieces: Sequence[Any]) -> list[Any]:
        self._models.note("aligning")
        self._models.loudest["aligning"] = max(float(np.abs(piece).max()) for piece in pieces)
        letters = [(nth, word) for nth, word in enumerate("".join(filter(str.isalpha, one)).lower() for one in SAID)]
        found = []
        for piece in pieces:
            frames = len(piece) // FRAME
            peaks = {
                frame: COLUMNS.labels[letter]
                for nth, word in letters
                for place, letter in enumerate(word)
                if (frame := round((nth + 0.3 + 0.06 * place) / STEP)) < frames
            }
            found.append(spoken(frames, peaks, BLANK + 1, BLANK))
        return found


class Diarizer(Known):
    """Gives what it was made with, and notes that it was asked and how loud it was."""

    def __init__(self, models: Scripted, part: str, info: Any) -> None:
        super().__init__(models.posteriors)
        self.info = info
        self._models = models
        self._part = part

    def begin(self) -> None:
        super().begin()
        self._models.may(self._part)
        self._models.note(f"diarizing by {self.info.name}")

    def posteriors(self, samples: int, read: Any, *rest: Any, **bounds: Any) -> Any:
        self._models.loudest["diarizing"] = float(np.abs(read(0, samples)).max())
        return super().posteriors(samples, read, *rest, **bounds)


class Quieter(Passing):
    """The voices are the recording at half of its level."""

    def __init__(self, models: Scripted) -> None:
        super().__init__()
        self._models = models

    def voices(self, stretches: Sequence[Any]) -> list[Any]:
        self._models.note("separating_vocals")
        return [stretch / 2 for stretch in super().voices(stretches)]

    def warnings(self) -> tuple[Any, ...]:
        return ()


def taking_turns(seconds: float = 8.0) -> Any:
    """Two people: the first speaks for 4 s, then the other."""
    frames = np.zeros((round(seconds / 0.08), 2), np.float32)
    frames[:50, 0] = frames[50:, 1] = 1.0
    return frames


class Scripted(Models):
    """``asked``: what was computed, in order. ``fails``: by model, ``separator``, ``aligner``, ``few``, ``many`` or
    ``recogniser``, what is raised instead of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.loudest: dict[str, float] = {}
        self.fails: dict[str, Exception] = {}
        self.language = "en"
        self.said: Sequence[str] = SAID
        self.posteriors = taking_turns()

    def note(self, what: str) -> None:
        if what not in self.asked:
            self.asked.append(what)

    def get(self, model: Model) -> Any:
        self.may("recogniser")
        return Recogniser(self)

    def place(self, model: Model) -> str:
        return "nowhere"

    def separator(self, companion: Any) -> Any:
        self.may("separator")
        return Quieter(self)

    def few(self, companion: Any) -> Any:
        return Diarizer(self, "few", companion.info)

    def many(self, companion: Any) -> Any:
        return Diarizer(self, "many", companion.info)

    def aligners(self, here: Any) -> Any:
        from pipeline.aligners import for_language

        models = self

        class Here:
            def get(self, language: str | None) -> Any:
                model = for_language(language, here)
                models.may("aligner")
                return Aligner(models, model)

        return Here()

    def may(self, what: str) -> None:
        if what in self.fails:
            raise self.fails[what]


@dataclass
class Answer:
    """What came of one job. ``ran``: what models computed; ``done``: the stages that were told."""

    results: Any
    done: list[StageDone]
    ran: list[str]
    models: Scripted

    @property
    def words(self) -> list[dict[str, Any]]:
        [channel] = self.results["channels"]
        return list(channel["alternatives"][0]["words"])

    @property
    def facts(self) -> Any:
        return next(one.facts for one in self.done if one.facts is not None)

    @property
    def degraded(self) -> dict[str, str]:
        return {one.stage: one.degraded for one in self.done if one.degraded is not None}

    @property
    def artifacts(self) -> list[str]:
        return [one.artifact for one in self.done if one.artifact]

    @property
    def warnings(self) -> list[tuple[str, str]]:
        return [(one.parameter, one.message) for one in self.facts.warnings]


@dataclass
class Cached:
    """Jobs on one recording, with a cache between them."""

    folder: Path
    recording: Path
    companions: Companions = EVERYTHING
    look: Callable[[Event], None] = lambda event: None
    kept: dict[str, bytes] = field(default_factory=dict)
    jobs: int = 0

    def run(self, models: Scripted | None = None, companions: Companions | None = None, **asked: Any) -> Answer:
        self.jobs += 1
        work = self.folder / f"job-{self.jobs}"
        work.mkdir()
        options, companions = Options(**asked), self.companions if companions is None else companions
        plans = {plan.name: plan for plan in stage_plans("c" * 64, options, RECOGNISER, companions=companions)}
        source = self._filled(work, plans)
        done: list[StageDone] = []
        models = models or Scripted()

        def emit(event: Event) -> None:
            if isinstance(event, StageDone):
                done.append(event)
                self._keep(work, plans, event, {one.stage for one in done if one.degraded is not None})
            self.look(event)

        request = JobRequest(
            work=str(work),
            source=source,
            options=options.model_dump(mode="json"),
            model=RECOGNISER.model_dump(mode="json"),
            companions=companions.model_dump(mode="json"),
            seed="seed",
        )
        run_job(work, request, models, emit)
        results = json.loads((work / plans[GENERATING_OUTPUT].artifact).read_bytes())
        return Answer(results, done, models.asked, models)

    def _filled(self, work: Path, plans: dict[str, StagePlan]) -> str:
        """As `handler.worker.attempt` does."""
        wanted = made_of(plans.values())
        for plan in plans.values():
            if plan.name != GENERATING_OUTPUT and plan.digest in self.kept:
                (work / plan.artifact).write_bytes(self.kept[plan.digest])
        if all((work / plan.artifact).exists() for plan in wanted):
            return ""
        shutil.copy(self.recording, work / self.recording.name)
        return self.recording.name

    def _keep(self, work: Path, plans: dict[str, StagePlan], done: StageDone, degraded: set[str]) -> None:
        if done.artifact:
            plan = plans[done.stage]
            assert done.artifact == plan.artifact
            if degraded.isdisjoint({plan.name, *plan.reads}):
                self.kept[plan.digest] = (work / plan.artifact).read_bytes()


def unavailable(what: str = "weights") -> ModelUnavailable:
    return ModelUnavailable(f"the {what} are damaged", "Fetch them again.")
