"""What a Whisper is told before it decodes: language, task, hotwords, prompt, and what it must not say; as tokens.

Takes a `Request`, gives a `Plan` for each language; and says which languages a model has tokens for. Knows nothing of
windows or sound.
"""

from __future__ import annotations

from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens

from pipeline.models.base import Request
from pipeline.models.decoding import Plan

PROMPT_TOKENS = 223  # half of Whisper's context of 448, less the token that opens the prompt

_FIGURES = frozenset("0123456789%$£€")


def knows(whisper: WhisperModel, code: str) -> bool:
    """Whether the weights have a token for that language."""
    if code not in whisper.supported_languages:
        return False
    # Cantonese, for one, is a language of faster-whisper's that only large-v3 has a token for.
    return not whisper.model.is_multilingual or whisper.hf_tokenizer.token_to_id(f"<|{code}|>") is not None


class Prompts:
    """The plans for one request. ``dropped``: how many tokens of hotwords and prompt did not fit."""

    def __init__(self, whisper: WhisperModel, request: Request) -> None:
        self._whisper = whisper
        self._request = request
        self._plans: dict[str, Plan] = {}
        # Hotwords go first: they were chosen one by one. faster-whisper lets each have half of the context, and fails
        # when both take it.
        hotwords = self._tokens(", ".join(request.hotwords))
        prompt = self._tokens(request.initial_prompt or "")
        self._hotwords = hotwords[:PROMPT_TOKENS]
        room = PROMPT_TOKENS - len(self._hotwords)
        self._prompt = prompt[max(0, len(prompt) - room) :]
        self.dropped = {
            "hotwords": len(hotwords) - len(self._hotwords),
            "initial_prompt": len(prompt) - len(self._prompt),
        }

    def plan(self, language: str) -> Plan:
        """For windows in that language, by Whisper's code."""
        if language not in self._plans:
            tokenizer = Tokenizer(
                self._whisper.hf_tokenizer,
                self._whisper.model.is_multilingual,
                task=self._request.task,
                language=language,
            )
            told = [*self._hotwords, *self._prompt]
            self._plans[language] = Plan(
                before=(tokenizer.sot_prev, *told) if told else (),
                start=tuple(tokenizer.sot_sequence),
                suppress=self._suppressed(tokenizer),
                tokenizer=tokenizer,
            )
        return self._plans[language]

    def _suppressed(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        """The library's own list (-1): what is no speech, special tokens; and figures, if those are not wanted."""
        more = self._numerals() if self._request.suppress_numerals else []
        tokens = get_suppressed_tokens(tokenizer, [-1, *more])
        return tuple(token for token in tokens or () if token is not None)

    def _numerals(self) -> list[int]:
        """The tokens that write a number in figures, or what stands beside one: without them it is spelt out."""
        tokenizer = self._whisper.hf_tokenizer
        text_tokens = range(tokenizer.token_to_id("<|endoftext|>"))  # behind them come timestamps, <|0.02|>
        return [token for token in text_tokens if not _FIGURES.isdisjoint(tokenizer.decode([token]))]

    def _tokens(self, text: str) -> list[int]:
        # A prompt that spells a special token would be read as one, and could end the transcript before it began.
        text = text.replace("<|", "< |").strip()
        return list(self._whisper.hf_tokenizer.encode(f" {text}", add_special_tokens=False).ids) if text else []
