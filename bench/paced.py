"""An engine's side of the pipe that only keeps time: the events of a job of known length, and artifacts of known size.

    python -P bench/paced.py SECONDS WORDS --events-fd N

Started by `handler.child.ChildEngine` in place of ``python -m pipeline engine``, so that a bench measures the handler
with a real child, a real pipe and real artifacts, but without a recogniser. Progress comes as often as the real engine
sends it. Decodes nothing: the words are made up.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.formats.deepgram import facts, results_part
from pipeline.options import Options
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING, artifact_name
from pipeline.types import (
    ChannelTranscript,
    Done,
    Event,
    JobRequest,
    Media,
    MediaInfo,
    ModelInfo,
    Progress,
    Ready,
    StageDone,
    Transcript,
    Word,
)

STEP_SECONDS = 0.25  # between two progress events, as in pipeline.course
WORD_SECONDS = 0.36  # 10,000 words an hour
TAIL = "so far " * 150  # longer than what a manifest shows

_WORDS = (
    "and",
    "so,",
    "my",
    "fellow",
    "Americans:",
    "ask",
    "not",
    "what",
    "your",
    "country",
    "can",
    "do",
    "for",
    "you.",
)


def transcript(words: int, model: ModelInfo) -> Transcript:
    """That many words of a punctuating model, without a pause."""
    spoken = tuple(
        Word(
            text=_WORDS[n % len(_WORDS)],
            start=round(n * WORD_SECONDS, 3),
            end=round(n * WORD_SECONDS + 0.3, 3),
            confidence=0.5 + (n % 997) / 2000,
        )
        for n in range(words)
    )
    media = MediaInfo(duration=words * WORD_SECONDS, channels=1, container="wav", codec="pcm_s16le")
    return Transcript(media=media, channels=(ChannelTranscript(words=spoken),), punctuated=True, model=model)


def play(request: JobRequest, seconds: float, words: int, emit: Callable[[Event], None]) -> None:
    """One job: the events of ``seconds``, then the artifacts."""
    work = Path(request.work)
    kept, results = work / artifact_name(TRANSCRIBING), work / artifact_name(GENERATING_OUTPUT)
    if not kept.exists():
        emit(Media(duration=words * WORD_SECONDS, channels=1))
        started = time.monotonic()
        while (spent := time.monotonic() - started) < seconds:
            share = spent / seconds
            emit(Progress(stage=TRANSCRIBING, percent=100 * share, done=spent, total=seconds, partial=TAIL))
            time.sleep(min(STEP_SECONDS, seconds - spent))
        model = ModelInfo(**{name: request.model[name] for name in ModelInfo.model_fields})
        kept.write_text(transcript(words, model).model_dump_json(), encoding="utf-8")
        emit(StageDone(stage=TRANSCRIBING, artifact=kept.name, seconds=seconds))
    heard, options = Transcript.model_validate_json(kept.read_bytes()), Options.model_validate(request.options)
    results.write_bytes(results_part(heard, options, request.seed))
    emit(StageDone(stage=GENERATING_OUTPUT, artifact=results.name, seconds=0.0, facts=facts(heard, options)))
    emit(Done())


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("seconds", type=float)
    parser.add_argument("words", type=int)
    parser.add_argument("--events-fd", type=int, required=True)
    given = parser.parse_args()
    with os.fdopen(given.events_fd, "wb", buffering=0) as events:

        def emit(event: Event) -> None:
            events.write(event.model_dump_json().encode() + b"\n")

        emit(Ready(pid=os.getpid()))
        for line in sys.stdin.buffer:
            play(JobRequest.model_validate_json(line), given.seconds, given.words, emit)
    return 0


if __name__ == "__main__":
    sys.exit(main())
