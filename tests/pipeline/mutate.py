"""Damages real media on purpose and decodes it: ``python -m tests.pipeline.mutate FOLDER FIRST STOP``.

Two lines of JSON for each mutation [FIRST, STOP), one before and one after it is decoded: whoever reads along knows
which one killed the process. A mutation is named by its number alone: the same number damages the same bytes alike.
"""

from __future__ import annotations

import json
import random
import resource
import sys
from pathlib import Path

from pipeline.errors import MediaError
from pipeline.stages.decode import decode
from tests.pipeline import media

MEMORY = 4 << 30  # bytes of address space: a header that asks for more must not get it


def sources(folder: Path) -> list[Path]:
    """One short recording of every kind that matters, made once in ``folder``; the sound is real speech."""
    import numpy as np
    from faster_whisper.audio import decode_audio

    rate = 16_000
    speech = decode_audio(str(media.JFK))[None, : 3 * rate].astype(np.float64)
    stereo = np.concatenate([speech, np.roll(speech, 800)])
    made = [
        media.write_audio(folder / "pcm.wav", stereo, rate),
        media.write_audio(folder / "float.wav", speech, rate, "pcm_f32le", form="flt"),
        media.write_audio(folder / "a.mp3", stereo, rate, "libmp3lame", form="fltp"),
        media.write_audio(folder / "a.flac", speech, rate, "flac"),
        media.write_audio(folder / "a.ogg", speech, 16_000, "libopus"),
        media.write_audio(folder / "a.webm", speech, 16_000, "libopus"),
        media.write_audio(folder / "a.m4a", stereo, rate, "aac", form="fltp"),
        media.write_audio(folder / "a.ts", stereo, rate, "aac", form="fltp"),
        media.write_audio(folder / "a.aiff", speech, rate, "pcm_s16be"),
        media.write_audio(folder / "a.mka", speech, rate, "flac", pieces=[(0, 1, 0), (1, 3, 2)]),
        media.write_video(folder / "a.mp4", 3.0, speech, rate),
        media.write_video(folder / "b.mkv", 3.0, speech, rate, sound_at=0.5),
    ]
    return sorted(made)


def mutated(body: bytes, chance: random.Random) -> bytes:
    """One to four kinds of damage, half of them in the first kilobyte, where the headers are."""
    data = bytearray(body)
    for _ in range(chance.randint(1, 4)):
        reach = min(len(data), 1024) if chance.random() < 0.5 else len(data)
        at = chance.randrange(max(1, reach))
        length = chance.choice([1, 2, 4, 8, 64, 1000, 10_000])
        kind = chance.randrange(7)
        if kind == 0:
            data[at : at + length] = bytes(len(data[at : at + length]))
        elif kind == 1:
            data[at : at + length] = b"\xff" * len(data[at : at + length])
        elif kind == 2:
            data[at : at + length] = chance.randbytes(len(data[at : at + length]))
        elif kind == 3:
            del data[at : at + length]
        elif kind == 4:
            data[at:at] = chance.randbytes(length)
        elif kind == 5:
            data[at:at] = data[chance.randrange(max(1, len(data))) :][:length]
        elif data:
            data[at] ^= 1 << chance.randrange(8)
    if chance.random() < 0.2:
        del data[chance.randrange(len(data) + 1) :]
    return bytes(data)


def outcome(source: Path, folder: Path, per_channel: bool) -> str:
    """``ok`` or the error's name; anything but a `MediaError` passes through."""
    out = folder / "decoded"
    out.mkdir(exist_ok=True)
    try:
        audio = decode(
            source,
            out,
            per_channel=per_channel,
            max_duration=600.0,
            report=lambda done, total: None,
            opened=lambda claimed, channels: None,
        )
    except MediaError as error:
        return type(error).__name__
    for track in range(audio.tracks):
        assert len(audio.read(track, 0, audio.samples)) == audio.samples > 0
    return "ok"


def main(folder: Path, first: int, stop: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    made = sorted((folder / "sources").iterdir())
    work = folder / f"work-{first}"
    work.mkdir()
    for number in range(first, stop):
        chance = random.Random(number)
        original = made[number % len(made)]
        damaged = work / f"damaged{original.suffix}"
        damaged.write_bytes(mutated(original.read_bytes(), chance))
        print(json.dumps({"number": number, "source": original.name}), flush=True)
        print(json.dumps({"outcome": outcome(damaged, work, per_channel=number % 5 == 0)}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
