"""A scripted engine with the stages beside the recogniser: each leaves its artifact, or says that it cannot."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from handler.errors import EngineDied
from handler.fakes import ScriptedEngine
from pipeline.companions import Companions
from pipeline.formats.deepgram import facts, results_part
from pipeline.options import Options
from pipeline.plan import (
    ALIGNING,
    DIARIZING,
    GENERATING_OUTPUT,
    SEPARATING,
    TRANSCRIBING,
    artifact_name,
    stages_of,
)
from pipeline.types import Done, Event, JobRequest, Media, StageDone, Transcript, Warning

STEM_BYTES = 256_000  # more than is kept inline


class ConversingEngine(ScriptedEngine):
    """``seen``: for each job the artifacts that lay in its work directory. ``poor``: stages that are degraded whatever
    models there are. ``dies_after``: the stage after which the process is gone, once.
    """

    def __init__(self, *, poor: tuple[str, ...] = (), dies_after: str = "") -> None:
        super().__init__()
        self.seen: list[set[str]] = []
        self._poor = set(poor)
        self._dies_after = dies_after

    def run(
        self, request: JobRequest, *, time_limit: Callable[[float | None], float], poll: float
    ) -> Iterator[Event | None]:
        self.jobs += 1
        work, options = Path(request.work), Options.model_validate(request.options)
        self.seen.append({path.name for path in work.iterdir() if path.name != request.source})
        models = Companions.model_validate(request.companions)
        poor = set(self._poor)
        poor |= {SEPARATING} if models.separator is None else set()
        poor |= {DIARIZING} if models.few is None and models.many is None else set()
        stages = stages_of(options, models)
        if request.source:
            yield Media(duration=60.0, channels=1)
        # As the engine does: what nothing here can do is told before anything is done.
        degraded = {stage: f"no model for {stage}" for stage in sorted(poor.intersection(stages))}
        for stage, why in degraded.items():
            yield StageDone(stage=stage, artifact="", seconds=0.0, degraded=why)
        for stage in stages:
            artifact = work / artifact_name(stage)
            if stage not in (SEPARATING, TRANSCRIBING, ALIGNING, DIARIZING) or artifact.exists():
                continue
            if stage == TRANSCRIBING and (work / artifact_name(ALIGNING)).exists():
                continue
            if stage == SEPARATING and not request.source:
                continue
            if stage in poor:
                continue
            assert request.source, f"{stage} needs the recording"
            self._make(stage, work, request)
            self.ran.append(stage)
            yield StageDone(stage=stage, artifact=artifact.name, seconds=2.0)
            if stage == self._dies_after:
                self._dies_after = ""
                raise EngineDied("the engine ended by signal SIGKILL")
        aligned = work / artifact_name(ALIGNING)
        words = aligned if aligned.exists() else work / artifact_name(TRANSCRIBING)
        transcript = Transcript.model_validate_json(words.read_bytes())
        results = work / artifact_name(GENERATING_OUTPUT)
        results.write_bytes(results_part(transcript, options, request.seed))
        told = [Warning(parameter=stage, type="degraded", message=why) for stage, why in degraded.items()]
        self.ran.append(GENERATING_OUTPUT)
        of_result = facts(transcript, options, told)
        yield StageDone(stage=GENERATING_OUTPUT, artifact=results.name, seconds=0.1, facts=of_result)
        yield Done()

    def _make(self, stage: str, work: Path, request: JobRequest) -> None:
        artifact = work / artifact_name(stage)
        if stage == SEPARATING:
            artifact.write_bytes(bytes(range(256)) * (STEM_BYTES // 256))  # no UTF-8, as FLAC is not
        elif stage == TRANSCRIBING:
            artifact.write_text(self._transcript(work / request.source, request).model_dump_json(), encoding="utf-8")
        elif stage == ALIGNING:
            shutil.copy(work / artifact_name(TRANSCRIBING), artifact)
        else:
            artifact.write_text('{"format":1}', encoding="utf-8")
