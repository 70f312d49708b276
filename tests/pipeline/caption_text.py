"""The results part of a short talk between two people."""

from __future__ import annotations

from typing import Any

_SAID = [("Good", 0), ("morning.", 0), ("Thank", 1), ("you.", 1)]

RESULTS: dict[str, Any] = {
    "channels": [
        {
            "alternatives": [
                {
                    "transcript": "Good morning. Thank you.",
                    "confidence": 0.9,
                    "words": [
                        {
                            "word": text.lower().strip("."), "start": place * 0.5, "end": place * 0.5 + 0.4,
                            "confidence": 0.9, "speaker": speaker, "punctuated_word": text,
                        }
                        for place, (text, speaker) in enumerate(_SAID)
                    ],
                }
            ]
        }
    ]
}  # fmt: skip
