"""What the tiny Whisper learns from: windows of speech, put together anew each time, and what to make of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import spoken
import torch
from faster_whisper.feature_extractor import FeatureExtractor
from faster_whisper.tokenizer import _LANGUAGE_CODES as LANGUAGES
from spoken import RATE, VOCABULARY, Said, Sound, Speaker, hush
from tiny_net import CONTEXT, FRAMES, MELS
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from torch.nn import functional as F

TICK = RATE // 50  # samples of an encoder's frame, 20 ms
WORDS = [(language, word) for language, words in VOCABULARY.items() for word in words]
INDEX = {word: n for n, word in enumerate(WORDS)}
SHARES = {"en": 0.6, "de": 0.2, "es": 0.2}
STOP = "<|endoftext|>"
CONTROL = ("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>")
UNKNOWN = -100  # a target that nothing is to be learned from


def build_tokenizer() -> Tokenizer:
    """Bytes, the words (each one token, with its space), and Whisper's special tokens in their order."""
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = []
    for _, word in WORDS:
        letters = split.pre_tokenize_str(" " + word)[0][0]
        for n in range(1, len(letters)):
            if (letters[:n], letters[n]) not in merges:
                merges.append((letters[:n], letters[n]))
            vocabulary.setdefault(letters[: n + 1], len(vocabulary))
    vocabulary[""] = len(vocabulary)  # CTranslate2 tells a multilingual Whisper by this token
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    languages = [f"<|{code}|>" for code in LANGUAGES if code != "yue"]
    timestamps = [f"<|{i * 0.02:.2f}|>" for i in range(FRAMES + 1)]
    special = [STOP, "<|startoftranscript|>", *languages, *CONTROL, *timestamps]
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in special])
    return tokenizer


TOKENIZER = build_tokenizer()
IDENT = {TOKENIZER.id_to_token(n): n for n in range(TOKENIZER.get_vocab_size())}
FIRST_TIMESTAMP = IDENT["<|0.00|>"]
SPOKEN = {word: TOKENIZER.encode(" " + word[1]).ids[0] for word in WORDS}


# ── windows ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_FILTERS = torch.tensor(FeatureExtractor().mel_filters, dtype=torch.float32)
_HANN = torch.tensor(np.hanning(401)[:-1], dtype=torch.float32)


def log_mel(sound: Sound, loudest: float) -> Tensor:
    """What faster-whisper computes, if the loudest part of the whole recording has at least the given log power."""
    wave = F.pad(torch.as_tensor(sound), (0, 160))
    power = torch.stft(wave, 400, 160, window=_HANN, return_complex=True)[..., :-1].abs() ** 2
    log = (_FILTERS @ power).clamp(min=1e-10).log10()
    return (log.clamp(min=max(float(log.max()), loudest) - 8) + 4) / 4


@dataclass
class Part:
    """A phrase in a window; ``cut`` is the sample that it begins at if the window's end cuts it."""

    language: str
    said: list[Said]
    cut: int | None = None


@dataclass
class Window:
    sound: Sound
    parts: list[Part]


class Windows:
    """Draws windows from a store of phrases, which it renews."""

    def __init__(self, rng: np.random.Generator, store: int = 3000) -> None:
        self.rng, self.speaker = rng, Speaker()
        self.store = {
            language: [spoken.phrase(self.speaker, rng, language) for _ in range(round(store * share))]
            for language, share in SHARES.items()
        }

    def renew(self) -> None:
        store = self.store[language := self.language()]
        store[self.rng.integers(len(store))] = spoken.phrase(self.speaker, self.rng, language)

    def language(self) -> str:
        return str(self.rng.choice(list(SHARES), p=list(SHARES.values())))

    def draw(self, seconds: float, dense: bool = False) -> Window:
        return self.silent(seconds) if self.rng.random() < 0.05 else self.speech(seconds, dense)

    def silent(self, seconds: float) -> Window:
        """Nothing, noise, clicks or a hum."""
        rng, count = self.rng, int(seconds * RATE)
        sound, kind = np.zeros(count), rng.integers(4)
        if kind:
            sound += self.noise(count) * 10 ** rng.uniform(-4.5, -0.8)
        if kind == 2:
            for at in rng.integers(0, count - 400, rng.integers(1, 5)):
                sound[at : at + rng.integers(1, 400)] += rng.uniform(-1, 1)
        if kind == 3:
            sound += 10 ** rng.uniform(-2, -0.5) * np.sin(2 * np.pi * np.arange(count) * rng.uniform(60, 4000) / RATE)
        return Window(sound.astype(np.float32), [])

    def noise(self, count: int) -> Sound:
        white = self.rng.standard_normal(count).astype(np.float32)
        kind = self.rng.integers(3)
        if kind == 1:
            return np.convolve(white, np.full(8, 1 / 3, np.float32), "same")
        return np.diff(white, prepend=np.float32(0)) if kind == 2 else white

    def speech(self, seconds: float, dense: bool) -> Window:
        """Phrases with pauses; ``dense`` has short ones only. The last phrase may be cut by the window's end."""
        rng, language, limit = self.rng, self.language(), int(seconds * RATE)
        store, voice = self.store[language], rng.choice([*spoken.VOICES[language], ""])
        longest_pause = 0.5 if dense else 0.3 + rng.choice([0.3, 0.6, 1.5, 3.0], p=[0.45, 0.35, 0.17, 0.03])
        sounds = [hush(rng.uniform(0, 3 if not dense and rng.random() < 0.1 else 0.7))]
        parts: list[Part] = []
        now = len(sounds[0])
        while now < limit:
            phrase = next((p for n in rng.integers(0, len(store), 8) if (p := store[n]).voice == voice), None)
            phrase = phrase or store[rng.integers(len(store))]
            fits = now + len(phrase.sound) <= limit
            whole = [word.later(now) for word in phrase.words if fits or now + word.end < limit - 0.03 * RATE]
            if not fits and (rng.random() < 0.5 or now > limit - 0.1 * RATE) and parts:
                break
            parts.append(Part(language, whole, None if fits else now))
            pause = hush(rng.uniform(0.15, longest_pause))
            sounds += [phrase.sound * np.float32(rng.uniform(0.7, 1)), pause]
            now += len(phrase.sound) + len(pause)
            if not dense and rng.random() < 0.04:
                break
        sound = np.concatenate(sounds)[:limit] * 10 ** rng.uniform(-1.8, 0)
        if rng.random() < 0.5:
            sound = sound + self.noise(len(sound)) * np.abs(sound).max() * 10 ** rng.uniform(-4, -1.7)
        return Window(sound.astype(np.float32), parts if parts and parts[0].said else [])


# ── what is to be learned from one ───────────────────────────────────────────────────────────────────────────────────


def frame_lesson(window: Window, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """For each frame the word said (and which third of it), and the last two words before it."""
    now, before = np.zeros(frames, np.int64), np.zeros((2, frames), np.int64)
    recent, at = [(0, -FRAMES), (0, -FRAMES)], 0
    for part in window.parts:
        for word in part.said:
            begin = round(word.start / TICK)
            end = max(round(word.end / TICK), begin + 1)
            for n, (index, ended) in enumerate(recent):  # words too long ago are beyond the encoder's view
                before[n, at:end] = index if begin - ended < (75, 110)[n] else UNKNOWN
            index, inside = INDEX[part.language, word.word], np.arange(begin, min(end, frames))
            now[begin:end] = 1 + 3 * index + np.minimum((inside - begin) * 3 // (end - begin), 2)
            recent, at = [(index + 1, end), recent[0]], end
    for n, (index, _) in enumerate(recent):
        before[n, at : at + 40] = index
    before[:, at + 40 :] = UNKNOWN
    return now, before


@dataclass
class Token:
    """One to write, the frames it is about, and up to which frame nothing else comes; unless it is only given."""

    ident: int
    span: tuple[float, float] | None = None
    until: float = 0.0
    wanted: bool = True


def transcript(window: Window, timed: bool, rng: np.random.Generator, room: int) -> tuple[list[Token], list[int]]:
    """The tokens of a window, from the prompt on, and what stands for them where the next one is asked for."""
    language = f"<|{window.parts[0].language}|>" if window.parts else "<|nospeech|>"
    first = window.parts[0].said if window.parts else []
    heard_at = (first[0].start / TICK, first[-1].end / TICK) if first else None
    tokens = [Token(ident, wanted=False) for ident in prompt(rng, room)]
    tokens += [Token(IDENT["<|startoftranscript|>"], wanted=False), Token(IDENT[language], heard_at)]
    tokens += [Token(IDENT["<|transcribe|>"], wanted=False)]
    language_at = len(tokens) - 2
    if not timed:
        tokens.append(Token(IDENT["<|notimestamps|>"], wanted=False))
    elif not first:
        tokens.append(Token(FIRST_TIMESTAMP))
    end = 0.0
    starts = [word.start / TICK for part in window.parts for word in part.said]
    for n, part in enumerate(window.parts):
        begin = (part.said[0].start if part.cut is None else part.cut) / TICK
        if timed:  # faster-whisper lets nothing begin after the first second
            tokens.append(Token(FIRST_TIMESTAMP + min(round(begin), FRAMES if n else 50), (begin, begin + 6)))
            if part.cut is not None and n:
                break  # it will be heard whole in the window that begins here
        for word in part.said:
            end = word.end / TICK
            until = next((start for start in starts if start > end), end)
            tokens.append(Token(SPOKEN[part.language, word.word], (word.start / TICK, end), until))
        if timed and part.cut is None:
            tokens.append(Token(FIRST_TIMESTAMP + min(round(end), FRAMES), (end - 5, end + 1)))
    tokens.append(Token(IDENT[STOP], (end + 1, end + 11) if first else None))
    given = [token.ident for token in tokens[:-1]]
    if not first or rng.random() < 0.1:  # whatever the language is said to be, what is said is said
        given[language_at] = IDENT[f"<|{rng.choice(list(VOCABULARY))}|>"]
    if rng.random() < 0.08:
        given[language_at + 1] = IDENT["<|translate|>"]
    return tokens, given


def prompt(rng: np.random.Generator, room: int) -> list[int]:
    """What may have been said before, with timestamps or without; or anything at all."""
    tokens: list[int] = []
    while len(tokens) < room * rng.random():
        count = int(rng.integers(1, 8))
        known = rng.random() < 0.8
        words = rng.choice(list(SPOKEN.values()), count) if known else rng.integers(0, 256, 2 * count)
        start = FIRST_TIMESTAMP + int(rng.integers(0, 1300))
        timed = rng.random() < 0.6
        tokens += [start, *words.tolist(), start + int(rng.integers(5, 200))] if timed else words.tolist()
    return [IDENT["<|startofprev|>"], *tokens[-room:]] if tokens else []


class Draws(Protocol):
    """What gives windows."""

    rng: np.random.Generator

    def draw(self, seconds: float, dense: bool = False) -> Window: ...
    def renew(self) -> None: ...


@dataclass
class Batch:
    mels: Tensor
    now: Tensor
    before: Tensor
    given: Tensor  # (windows, with timestamps or without, tokens)
    wanted: Tensor
    here: Tensor  # (…, tokens, frames): where the given token is, each frame of it having an equal share
    there: Tensor  # where the wanted one is
    last_stamp: Tensor  # (…, tokens): where the last timestamp was, or the start of the transcript
    aligned: Tensor  # and a little for the pause after it: word times are read from where attention moves on

    @classmethod
    def draw(cls, windows: Draws, count: int, frames: int, *, dense: bool = False, tokens: bool = True) -> Batch:
        rng, longest = windows.rng, frames / 50
        drawn = [
            windows.draw(longest if dense or rng.random() < 0.5 else rng.uniform(1, longest), dense)
            for _ in range(count)
        ]
        mels = torch.zeros(count, MELS, 2 * frames)
        for n, window in enumerate(drawn):
            mel = log_mel(window.sound, rng.uniform(-3, 2))[:, : 2 * frames]
            mels[n, :, : mel.shape[1]] = mel
        lessons = [frame_lesson(window, frames) for window in drawn]
        now, before = (torch.tensor(np.stack(part)) for part in zip(*lessons, strict=True))
        room = int(rng.choice([0, 8, 40, CONTEXT // 2 - 1], p=[0.45, 0.2, 0.2, 0.15]))  # for prompts
        texts = [[transcript(window, timed, rng, room) for timed in (True, False)] for window in drawn if tokens]
        size = max((len(given) for pair in texts for _, given in pair), default=0)
        given, wanted = torch.full((count, 2, size), IDENT[STOP]), torch.full((count, 2, size), UNKNOWN)
        here, there, aligned = torch.zeros(3, count, 2, size, frames)
        for n, pair in enumerate(texts):
            for form, (text, given_ones) in enumerate(pair):
                given[n, form, : len(given_ones)] = torch.tensor(given_ones)
                for at, token in enumerate(text):
                    if at and token.wanted:
                        wanted[n, form, at - 1] = token.ident
                    if token.span:
                        a = min(max(round(token.span[0]), 0), frames - 2)
                        b = min(max(round(token.span[1]), a + 1), frames)
                        there[n, form, at - 1, a:b] = aligned[n, form, at - 1, a:b] = 1 / (b - a)
                        if (until := min(round(token.until), frames)) > b:
                            aligned[n, form, at - 1, a:b] *= 0.85
                            aligned[n, form, at - 1, b:until] = 0.15 / (until - b)
                        if at < len(given_ones):
                            here[n, form, at, a:b] = 1 / (b - a)
        begun = (given == IDENT["<|startoftranscript|>"]).cumsum(-1) > 0
        mark = begun & ((given == IDENT["<|startoftranscript|>"]) | (given >= FIRST_TIMESTAMP))
        last_stamp = torch.where(mark, torch.arange(size), 0).cummax(-1).values
        mels = mels + 0.02 * torch.randn_like(mels)
        return cls(mels, now, before, given, wanted, here, there, last_stamp, aligned)
