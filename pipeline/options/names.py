"""The names that are no option, or not yet, with what a person is told; and other names of those that are."""

from __future__ import annotations

# Other names that Deepgram has for an option of `pipeline.options.model.Options`.
ALIASES = {"keyterm": "hotwords", "keywords": "hotwords"}

# Planned. What each will do, for the table; the error says that it is not built yet.
LATER = {
    "diarize": "who speaks when",
    "diarize_version": "which diarizer runs",
    "numerals": "numbers as digits",
    "measurements": "units as abbreviations",
    "dictation": "spoken punctuation commands",
    "filler_words": "keep or drop uh and um",
    "profanity_filter": "mask swear words",
    "replace": "replace terms in the text",
    "redact": "mask numbers in the text",
    "search": "find terms in the recording",
    "callback": "send the result to a URL",
    "callback_method": "POST or PUT",
    "detect_entities": "names, places and dates in the text",
    "summarize": "a summary",
    "topics": "topics by segment",
    "custom_topic": "topics to look for",
    "custom_topic_mode": "how custom_topic is taken",
    "intents": "intents by segment",
    "custom_intent": "intents to look for",
    "custom_intent_mode": "how custom_intent is taken",
    "sentiment": "sentiment by segment",
    "outputs": "captions and text beside the JSON",
}

# Not planned, and why.
NEVER = {
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
