"""The names that are no option, with what a person is told; and other names of those that are."""

from __future__ import annotations

# Other names that Deepgram has for an option of `pipeline.options.model.Options`.
ALIASES = {"keyterm": "hotwords", "keywords": "hotwords"}

# Names of Deepgram's that are refused, and why.
REFUSED = {
    "diarize_version": "which diarizer runs is chosen by the number of speakers; use diarize",
    "diarize_model": "which diarizer runs is chosen by the number of speakers; use diarize",
    "detect_entities": "finding entities takes a language model, which is not part of this",
    "summarize": "a summary takes a language model, which is not part of this",
    "topics": "finding topics takes a language model, which is not part of this",
    "custom_topic": "finding topics takes a language model, which is not part of this",
    "custom_topic_mode": "finding topics takes a language model, which is not part of this",
    "intents": "finding intents takes a language model, which is not part of this",
    "custom_intent": "finding intents takes a language model, which is not part of this",
    "custom_intent_mode": "finding intents takes a language model, which is not part of this",
    "sentiment": "judging sentiment takes a language model, which is not part of this",
    "alternatives": "one alternative is given for each channel",
    "tier": "models are named by model alone",
    "encoding": "the recording itself says how it is encoded",
    "sample_rate": "the recording itself says its sample rate",
    "channels": "the recording itself says how many channels it has",
    "detect_topics": "Deepgram has retired it in favour of topics",
    "language_hint": "use detect_language with a list of languages",
    "mip_opt_out": "no recording is used to train anything, so there is nothing to opt out of",
    "interim_results": "it belongs to live streaming; partial text is in the progress manifest",
    "endpointing": "it belongs to live streaming",
    "vad_events": "it belongs to live streaming",
    "utterance_end_ms": "it belongs to live streaming; use utt_split",
    "no_delay": "it belongs to live streaming",
}
