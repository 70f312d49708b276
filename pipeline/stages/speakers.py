"""Who speaks when, where nobody has to be heard for it: every channel of a recording is one speaker.

Takes and gives a `Transcript`. Knows nothing of sound or models.
"""

from __future__ import annotations

from pipeline.types import Transcript


def by_channel(transcript: Transcript) -> Transcript:
    """The transcript with a speaker in every word.

    Speakers are counted in each channel by itself, as Deepgram does: the one speaker of every channel is 0.
    """
    channels = tuple(
        channel.model_copy(update={"words": tuple(word.model_copy(update={"speaker": 0}) for word in channel.words)})
        for channel in transcript.channels
    )
    return transcript.model_copy(update={"channels": channels})
