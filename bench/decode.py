"""Decoding beside faster-whisper's: speed on an hour of MP3, and memory at growing lengths.

    python -m bench.decode [--long]

Takes the real speech of the tests, repeated; each measurement runs in a process of its own. Speed is measured in turns,
so that a busy machine slows both, and the median of the rounds' ratios counts. Memory is the peak of the process's
anonymous memory (RssAnon), modules included, while it decodes and then looks for speech.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from bench.table import Row, show

ROOT = Path(__file__).parents[1]
SPEECH = (ROOT / "examples" / "jfk.flac", ROOT / "tests" / "data" / "audio" / "test.opus")
RATE = 44_100
BIT_RATE = 128_000
FRAME = 1152  # samples in an MP3 frame
ROUNDS = 5
GROWTH_MB = 8  # what may come on top between ten minutes and the longest recording: allocator noise, not samples


def rows(long: bool) -> list[Row]:
    """The figures; with ``long`` also ten hours."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return [*_speed(folder), *_memory(folder, [10, 60, 180, *([600] if long else [])])]


def make_mp3(path: Path, minutes: int, sources: Sequence[Path] = SPEECH) -> Path:
    """128 kbit/s stereo speech of that length: the ``sources`` encoded once, their packets repeated."""
    packets = _packets(sources)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libmp3lame", rate=RATE, layout="stereo")
        stream.bit_rate = BIT_RATE
        samples = 0
        while samples < minutes * 60 * RATE:
            for body in packets:
                packet = av.Packet(body)
                packet.stream, packet.time_base = stream, Fraction(1, RATE)
                packet.pts = packet.dts = samples
                output.mux(packet)
                samples += FRAME
    return path


def _packets(sources: Sequence[Path]) -> list[bytes]:
    encoder: Any = av.CodecContext.create("libmp3lame", "w")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = RATE, "stereo", "fltp", BIT_RATE
    packets = []
    for source in sources:
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=RATE, frame_size=FRAME)
        with av.open(str(source)) as container:
            for frame in [*container.decode(audio=0), None]:
                for piece in resampler.resample(frame):
                    piece.pts = None
                    if piece.samples == FRAME:
                        packets += encoder.encode(piece)
    return [bytes(packet) for packet in packets]


def _speed(folder: Path) -> list[Row]:
    source = make_mp3(folder / "hour.mp3", 60)
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(ROUNDS):
        for who, seconds in times.items():
            seconds.append(_child(who, source)["seconds"])
    source.unlink()
    ratio = statistics.median(a / b for a, b in zip(times["ours"], times["theirs"], strict=True))
    best = {who: min(seconds) for who, seconds in times.items()}
    return [
        Row("decode 1 h of MP3 (best of rounds)", f"{best['ours']:.2f} s, faster-whisper {best['theirs']:.2f} s"),
        Row("decode 1 h of MP3, ours ÷ faster-whisper", f"{ratio:.2f}", "≤ 1.00", ratio <= 1.0),
    ]


def _memory(folder: Path, lengths: list[int]) -> list[Row]:
    found = []
    first = 0.0
    for minutes in lengths:
        source = make_mp3(folder / "long.mp3", minutes)
        peak = _child("memory", source)
        source.unlink()
        most = max(peak["decode_mb"], peak["vad_mb"])
        measured = f"decode {peak['decode_mb']:.0f} MB, speech detection {peak['vad_mb']:.0f} MB"
        first = first or most
        found.append(
            Row(f"peak memory, {minutes} min", measured, f"≤ {first + GROWTH_MB:.0f} MB", most <= first + GROWTH_MB)
        )
    return found


def _child(what: str, source: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.decode", "--child", what, str(source)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    result: dict[str, float] = json.loads(done.stdout)
    return result


# ── in the child ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _ours(source: Path, report: Callable[[float, float | None], None]) -> Any:
    from pipeline.stages.decode import decode

    return decode(
        source,
        Path(tempfile.mkdtemp(dir=source.parent)),
        per_channel=False,
        max_duration=None,
        report=report,
        opened=lambda claimed, channels: None,
    )


def _timed(what: str, source: Path) -> dict[str, float]:
    if what == "ours":
        import pipeline.stages.decode  # noqa: F401 - imports are not what is measured

        work: Callable[[], Any] = lambda: _ours(source, lambda done, total: None)  # noqa: E731
    else:
        from faster_whisper.audio import decode_audio

        work = lambda: decode_audio(str(source))  # noqa: E731
    start = time.perf_counter()
    work()
    return {"seconds": time.perf_counter() - start}


def _anonymous_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise OSError("no RssAnon in /proc/self/status: memory is measured on Linux only")


def _measured(source: Path) -> dict[str, float]:
    from pipeline.stages.vad import speech

    peaks = {"decode_mb": 0.0, "vad_mb": 0.0}

    def watch(name: str) -> Callable[[float, float | None], None]:
        def report(done: float, total: float | None) -> None:
            peaks[name] = max(peaks[name], _anonymous_mb())

        return report

    audio = _ours(source, watch("decode_mb"))
    speech(audio, 0, watch("vad_mb"))
    watch("vad_mb")(audio.info.duration, None)
    return peaks


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.decode", description="Decoding: speed and memory.")
    parser.add_argument("--long", action="store_true", help="ten hours as well")
    parser.add_argument("--child", nargs=2, metavar=("WHAT", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        what, source = arguments.child[0], Path(arguments.child[1])
        print(json.dumps(_measured(source) if what == "memory" else _timed(what, source)))
        return 0
    return show("decode", rows(arguments.long))


if __name__ == "__main__":
    sys.exit(main())
