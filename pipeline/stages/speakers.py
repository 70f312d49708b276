"""Who speaks when, as far as it can be known without a diarizer: every channel of a recording is one speaker.

Takes and gives a `Transcript`. Knows nothing of sound or models.
"""

from __future__ import annotations

from pipeline.types import Transcript

NO_DIARIZER = (
    "Words have no speakers: this version has no diarizer, and tells speakers apart only by channel (multichannel, in "
    "a recording with several). Do the recording again once one is there."
)


def by_channel(transcript: Transcript) -> tuple[Transcript, str | None]:
    """The transcript with a speaker in every word; or as it is, and the reason why there are none.

    Speakers are counted in each channel by itself, as Deepgram does: the one speaker of every channel is 0.
    """
    if len(transcript.channels) < 2:
        return transcript, NO_DIARIZER
    channels = tuple(
        channel.model_copy(update={"words": tuple(word.model_copy(update={"speaker": 0}) for word in channel.words)})
        for channel in transcript.channels
    )
    return transcript.model_copy(update={"channels": channels}), None
