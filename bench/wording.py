"""The text options on a recording of ten hours: time and memory of a process that rewords and writes the results.

    python -m bench.wording

A fresh process reads the transcript's artifact (100,000 words of English with numbers, dates, prices, addresses,
fillers), rewords it with every text option, writes the results part with a search for 50 terms, and captions of every
kind. Beside it, in the same process: text2num alone, over the same words.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import rig
from bench.table import Row, show
from pipeline.options import OUTPUTS, Options
from pipeline.types import ChannelTranscript, ExportRequest, MediaInfo, ModelInfo, Transcript, Word

HOURS, WORDS = 10, 100_000
TIMES = 3
LIMIT_SECONDS, LIMIT_MB = 5.0, 300.0

_PLAIN = (
    "So the next thing we have to look at is how people use it every day.",
    "I, uh, think that is right, and nobody in the room said anything else.",
    "We went down to the river in the morning and it was still quite cold.",
    "What do you mean by that? I asked her about the weather in the north.",
    "Nobody knows the reason, but the committee has written a long report.",
    "Um, the second thing is that this damn machine never does what it says.",
)
_NUMBERED = (
    "They paid five hundred and twenty dollars and fifty cents for it.",
    "It rose by twenty three percent in nineteen ninety nine.",
    "We meet at eight thirty pm on November second twenty twenty two.",
    "Please call five five five eight six seven five three oh nine after the show.",
    "The company made two point five million dollars with twelve thousand five hundred people.",
    "You can email me at jane dot doe at example dot com slash news.",
    "He took five milligrams and ran sixty two miles per hour, the twenty first time.",
    "On page two there are between one hundred and two hundred of them.",
)
_TERMS = (
    "committee", "epistemology", "the weather", "long report", "machine", "river", "five hundred", "example.com",
    "every day", "nobody knows",
)  # fmt: skip


def options() -> Options:
    """Every text option at once."""
    terms = (*_TERMS, *(f"{term} again" for term in _TERMS), *(f"{a} {b}" for a in _TERMS[:6] for b in _TERMS[:5]))
    return Options(
        smart_format=True,
        numerals=True,
        measurements=True,
        dictation=True,
        profanity_filter=True,
        replace=(("committee", "Board"), ("the river", "the Thames"), ("still", "")),
        redact=("numbers",),
        search=terms[:50],
    )


def transcript(words: int, hours: float, seed: int = 1) -> Transcript:
    """Made-up English, a third of its sentences with numbers; two people speak in turns."""
    chance = random.Random(seed)
    texts: list[str] = []
    speakers: list[int] = []
    while len(texts) < words:
        sentence = chance.choice(_NUMBERED if chance.random() < 1 / 3 else _PLAIN).split()
        texts += sentence
        speakers += [chance.randrange(2)] * len(sentence)
    each = hours * 3600 / words
    heard = tuple(
        Word(text=text, start=nth * each, end=(nth + 0.9) * each, confidence=0.9, speaker=speaker)
        for nth, (text, speaker) in enumerate(zip(texts[:words], speakers[:words], strict=True))
    )
    return Transcript(
        media=MediaInfo(duration=hours * 3600, channels=1, container="wav", codec="pcm_s16le"),
        channels=(ChannelTranscript(words=heard, language="en"),),
        punctuated=True,
        model=ModelInfo(name="made-up", version="1", arch="none", revision="0" * 64),
    )


def rows(long: bool) -> list[Row]:
    """The figures, each the median of several processes; with ``long``, of three times as many."""
    with tempfile.TemporaryDirectory() as name:
        artifact = Path(name) / "transcribing.json"
        artifact.write_text(transcript(WORDS, HOURS).model_dump_json(), encoding="utf-8")
        runs = [_child(artifact) for _ in range(TIMES * (3 if long else 1))]
    middle = {key: rig.quantile([run[key] for run in runs], 0.5) for key in runs[0]}
    named = f"{WORDS:,} words, {HOURS} h"
    return [
        Row(
            f"{named}: reword and results part, all text options",
            f"{middle['total']:.2f} s (reword {middle['reword']:.2f} s, results {middle['results']:.2f} s),"
            f" {middle['processor']:.2f} s of processor",
            f"≤ {LIMIT_SECONDS:.0f} s",
            middle["total"] <= LIMIT_SECONDS,
        ),
        Row("smart_format alone, without results", f"{middle['numbers']:.2f} s"),
        Row("captions of every kind from that result", f"{middle['captions']:.2f} s"),
        Row(
            "peak of the process",
            f"{middle['job_mb']:.0f} MB, with captions of every kind {middle['peak_mb']:.0f} MB",
            f"≤ {LIMIT_MB:.0f} MB",
            middle["peak_mb"] <= LIMIT_MB,
        ),
        Row("text2num alone over the same words", f"{middle['text2num']:.2f} s"),
        Row("rewording with smart_format ÷ text2num alone", f"{middle['numbers'] / middle['text2num']:.1f}"),
    ]


def _child(artifact: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.wording", "--child", str(artifact)]
    done = subprocess.run(command, cwd=rig.ROOT, check=True, capture_output=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _measured(artifact: Path) -> dict[str, float]:
    """In the child: what an engine does with a job whose transcript is cached, and the yardstick afterwards."""
    from pipeline.export import export
    from pipeline.wording import reword

    asked, found = options(), dict[str, float]()
    (artifact.parent / "results.json").write_bytes(_job(_read(artifact), asked, found))
    found["job_mb"] = rig.memory_mb("VmHWM")
    # The job is over; captions are a request of their own.
    request = ExportRequest(work=str(artifact.parent), results="results.json", kinds=OUTPUTS)
    _timed(found, "captions", lambda: export(request))
    found["peak_mb"] = rig.memory_mb("VmHWM")
    again = _read(artifact)
    _timed(found, "numbers", lambda: reword(again, Options(smart_format=True)))
    _timed(found, "text2num", lambda: _text2num(again))
    return found


def _job(heard: Transcript, asked: Options, found: dict[str, float]) -> bytes:
    """What `pipeline.run` does after transcription."""
    from pipeline.formats.deepgram import results_part
    from pipeline.wording import reword

    began = time.process_time()
    reworded = _timed(found, "reword", lambda: reword(heard, asked))
    results: bytes = _timed(found, "results", lambda: results_part(reworded, asked, "seed"))
    found["total"] = found["reword"] + found["results"]
    found["processor"] = time.process_time() - began
    return results


def _read(artifact: Path) -> Transcript:
    return Transcript.model_validate_json(artifact.read_bytes())


def _timed(found: dict[str, float], name: str, step: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    made = step()
    found[name] = time.perf_counter() - started
    return made


class _Heard:
    def __init__(self, text: str) -> None:
        self._text = text.lower().strip(".,?!")

    def text(self) -> str:
        return self._text

    def nt_separated(self, previous: object) -> bool:
        return False

    def not_a_number_part(self) -> bool:
        return False


def _text2num(heard: Transcript) -> int:
    from text_to_num import find_numbers

    return len(find_numbers([_Heard(word.text) for word in heard.channels[0].words], "en", 0.0))


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.wording", description="Text options on ten hours.")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--child", metavar="ARTIFACT", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(_measured(Path(given.child))))
        return 0
    return show("wording", rows(given.long))


if __name__ == "__main__":
    sys.exit(_main())
