"""Transcripts of many kinds, as hypothesis strategies: silence, channels, speakers, any text, punctuated or not."""

from __future__ import annotations

from hypothesis import strategies as st

from pipeline.options import Options
from pipeline.types import ChannelTranscript, MediaInfo, ModelInfo, Transcript, Warning, Word

MODEL = ModelInfo(name="tiny", version="2024-01-01", arch="whisper", revision="0" * 64)

_TEXTS = st.one_of(
    st.sampled_from(
        ["Hello,", "world.", "I'll", "Really?", "好。", "—", "50%", "“Go!”", 'a"b\\c', "İstanbul", "\u2028"]
    ),
    st.text(max_size=12),
)
_UNIT = st.floats(min_value=0, max_value=1)


@st.composite
def words(draw: st.DrawFn) -> tuple[Word, ...]:
    """In order of their start; some overlap, some have a speaker, some none."""
    with_speakers, found, start = draw(st.booleans()), [], 0.0
    for _ in range(draw(st.integers(0, 12))):
        start += draw(st.floats(min_value=0, max_value=3))
        found.append(
            Word(
                text=draw(_TEXTS),
                start=start,
                end=start + draw(st.floats(min_value=-0.5, max_value=2)),
                confidence=draw(_UNIT),
                speaker=draw(st.none() | st.integers(0, 5)) if with_speakers else None,
                speaker_confidence=draw(st.none() | _UNIT) if with_speakers else None,
            )
        )
    return tuple(found)


channels = st.builds(
    ChannelTranscript,
    words=words(),
    language=st.sampled_from([None, "en", "pt-BR"]),
    language_confidence=st.none() | _UNIT,
)

transcripts = st.builds(
    Transcript,
    media=st.builds(
        MediaInfo,
        duration=st.floats(min_value=0, max_value=1e5),
        channels=st.integers(1, 20),
        container=st.just("wav"),
        codec=st.just("pcm_s16le"),
    ),
    channels=st.lists(channels, min_size=1, max_size=3).map(tuple),
    punctuated=st.booleans(),
    model=st.just(MODEL),
    warnings=st.lists(
        st.builds(Warning, parameter=st.just("model"), type=st.just("t"), message=st.sampled_from("ab")), max_size=3
    ).map(tuple),
)

options = st.builds(
    Options,
    punctuate=st.booleans(),
    paragraphs=st.booleans(),
    utterances=st.booleans(),
    detect_language=st.booleans(),
    utt_split=st.floats(min_value=1e-6, max_value=100),
)


def transcript(*tracks: tuple[Word, ...], punctuated: bool = True, language: str | None = "en") -> Transcript:
    """One transcript, a channel for each of ``tracks``."""
    return Transcript(
        media=MediaInfo(duration=12.0, channels=max(1, len(tracks)), container="wav", codec="pcm_s16le"),
        channels=tuple(ChannelTranscript(words=track, language=language, language_confidence=0.75) for track in tracks),
        punctuated=punctuated,
        model=MODEL,
    )


def word(text: str, start: float, speaker: int | None = None) -> Word:
    return Word(text=text, start=start, end=start + 0.25, confidence=0.5, speaker=speaker)
