"""Whisper models of real sizes without trained weights: the same work for the processor, and a known number of tokens.

Takes a `Shape`, writes a folder in CTranslate2's format (model.bin, config.json, tokenizer.json, preprocessor_config)
that every part of the code takes for a Whisper. Weights are random, so every layer computes what the real one would.
What it says does not depend on the sound. Position encodings are large beside what the layers add: the n-th position
stands for the n-th token of a made-up text, and those behind the text for its end. So each window gives the same
number of tokens with a probability near 1, for any beam, through any code, and no quality check has a reason to decode
it again. The heads that word times are read from look at the frames in order, so the text is spread evenly over 30 s.

Sizes are those of the published models (https://github.com/openai/whisper, ``ModelDimensions``), heads those of their
``generation_config.json``. Knows nothing of what is measured.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs.whisper_spec import WhisperSpec
from faster_whisper.tokenizer import _LANGUAGE_CODES as LANGUAGES
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

HEAD = 64  # width of an attention head, in every Whisper
FRAMES = 1500  # of the encoder in a window of 30 s
CONTEXT = 448  # positions of the decoder
FIRST = 3  # position behind <|startoftranscript|><|en|><|transcribe|>: the next token is the first that may be text

_TEXT_TOKENS = 50_257  # byte pairs of Whisper's multilingual vocabulary; the special tokens come behind them
_SPECIAL = ("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>")
_LOUD = 8.0  # an entry of a position encoding; what the layers add stays near 1
_SURE = 30.0  # the right token's logit; the others' are near 0
_POOL = 1 << 22  # random numbers that weights are cut from

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Shape:
    """``mels``: bands; ``width``: of the model; ``alignment``: (layer, head) pairs that word times are read from;
    ``tokens``: said in each window: 110 are about 80 words, which in 30 s is speech at 160 words a minute.
    """

    name: str
    mels: int
    width: int
    encoder_layers: int
    decoder_layers: int
    languages: int
    alignment: tuple[tuple[int, int], ...]
    tokens: int = 110

    @property
    def heads(self) -> int:
        return self.width // HEAD


_BASE_HEADS = ((3, 1), (4, 2), (4, 3), (4, 7), (5, 1), (5, 2), (5, 4), (5, 6))
_TURBO_HEADS = ((2, 4), (2, 11), (3, 3), (3, 6), (3, 11), (3, 14))
_LARGE_HEADS = ((7, 0), (10, 17), (12, 18), (13, 12), (16, 1), (17, 14), (19, 11), (21, 4), (24, 1), (25, 6))

SHAPES = {
    shape.name: shape
    for shape in (
        Shape("large-v3-turbo", 128, 1280, 32, 4, 100, _TURBO_HEADS),
        Shape("large-v3", 128, 1280, 32, 32, 100, _LARGE_HEADS),
        Shape("base", 80, 512, 6, 6, 99, _BASE_HEADS),
        # No published size: as little work as scripts can be tried on. It says so little that it is believable of a
        # clip of five seconds, too.
        Shape("toy", 80, 128, 1, 1, 99, ((0, 1),), tokens=30),
    )
}


def folder_of(shape: Shape, scratch: Path) -> Path:
    """The folder with that model, made in ``scratch`` unless an earlier run left it there."""
    folder = scratch / f"random-{shape.name}"
    if not (folder / "model.bin").is_file():
        partial = scratch / f"random-{shape.name}.partial"
        partial.mkdir(parents=True, exist_ok=True)
        write(shape, partial)
        partial.rename(folder)
    return folder


def write(shape: Shape, folder: Path) -> None:
    """The model's files, float16, into ``folder``, which exists."""
    tokenizer = build_tokenizer(shape)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": shape.mels}))
    spec = _spec(shape, tokenizer)
    spec.validate()
    spec.decoder.projection.weight = "decoder/embeddings/weight"  # one matrix, as in the published weights
    spec.save(str(folder))


# ── what it says ─────────────────────────────────────────────────────────────────────────────────────────────────────


def spoken(tokens: int) -> list[str]:
    """The text, so many tokens as they stand in the vocabulary: a third of the words has two, some end in a full
    stop.
    """
    first, second = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v"), ("a", "e", "i", "o", "u")
    syllables = [a + b for b in second for a in first]
    found: list[str] = []
    for number in count():
        word = syllables[(7 * number) % 65] + ("n", syllables[(11 * number + 3) % 65], "s", "rt")[number % 4]
        found.append(f"Ġ{word}" if number % 12 else f"Ġ{word}.")
        if number % 3 == 2:
            found.append(syllables[(5 * number + 1) % 65] + "nlt"[number % 9 // 3])
        if len(found) >= tokens:
            return found[:tokens]
    raise AssertionError("count() does not end")


def build_tokenizer(shape: Shape) -> Tokenizer:
    """Bytes, the text's tokens, filler up to Whisper's size, and Whisper's special tokens in their order."""
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    for token in spoken(shape.tokens):
        vocabulary.setdefault(token, len(vocabulary))
    while len(vocabulary) < _TEXT_TOKENS - 1:
        vocabulary[f"Ġx{len(vocabulary)}"] = len(vocabulary)
    vocabulary[""] = len(vocabulary)  # CTranslate2 tells a multilingual Whisper by this token
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    codes = [f"<|{code}|>" for code in LANGUAGES[: shape.languages]]
    times = [f"<|{i * 0.02:.2f}|>" for i in range(FRAMES + 1)]
    special = ["<|endoftext|>", "<|startoftranscript|>", *codes, *_SPECIAL, *times]
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in special])
    return tokenizer


# ── weights ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Random:
    """Random weights, no two layers the same: CTranslate2 keeps equal ones once, and so little would be read."""

    def __init__(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.signs = generator.choice(np.array([-1, 1], np.float32), size=(CONTEXT, 4096))
        self._pool = (0.01 * generator.standard_normal(_POOL, dtype=np.float32)).astype(np.float16)
        self._at = 0

    def weight(self, *shape: int) -> NDArray[np.float16]:
        size = int(np.prod(shape))
        self._at = (self._at + 1_299_709) % _POOL
        return np.resize(np.roll(self._pool, self._at), size).reshape(shape)


def _spec(shape: Shape, tokenizer: Tokenizer) -> WhisperSpec:
    random = _Random(seed=1)
    spec = WhisperSpec(shape.encoder_layers, shape.heads, shape.decoder_layers, shape.heads)
    spec.register_vocabulary([tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())])
    spec.config.lang_ids = [tokenizer.token_to_id(f"<|{code}|>") for code in LANGUAGES[: shape.languages]]
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [tokenizer.token_to_id("Ġ"), tokenizer.token_to_id("<|endoftext|>")]
    spec.config.alignment_heads = [list(pair) for pair in shape.alignment]
    _encoder(spec.encoder, shape, random)
    _decoder(spec.decoder, shape, tokenizer, random)
    return spec


def _encoder(encoder: Any, shape: Shape, random: _Random) -> None:
    width = shape.width
    for conv, bands in ((encoder.conv1, shape.mels), (encoder.conv2, width)):
        conv.weight, conv.bias = random.weight(width, bands, 3), np.zeros(width, np.float16)
    places = np.float32(_LOUD) * np.resize(random.signs, (FRAMES, width))
    places[:, :HEAD] = 2 * _LOUD * _bumps(np.arange(FRAMES) * HEAD / FRAMES)
    encoder.position_encodings.encodings = places.astype(np.float16)
    _norm(encoder.layer_norm, width)
    for layer in encoder.layer:
        _self_attention(layer.self_attention, width, random)
        _feed_forward(layer.ffn, width, random)


def _decoder(decoder: Any, shape: Shape, tokenizer: Tokenizer, random: _Random) -> None:
    width = shape.width
    codes = np.zeros((CONTEXT, width), np.float32)
    codes[:, HEAD:] = random.signs[:, : width - HEAD]
    end = FIRST + shape.tokens
    codes[end:] = codes[end]  # from here on there is one thing to say
    heard = np.clip((np.arange(CONTEXT) - FIRST) / shape.tokens, 0, 1) * HEAD
    decoder.position_encodings.encodings = (_LOUD * codes).astype(np.float16)
    decoder.position_encodings.encodings[:, :HEAD] = 2 * _LOUD * _bumps(heard)
    embeddings = 2 * random.weight(tokenizer.get_vocab_size(), width).astype(np.float32)
    said = {0: "<|en|>", FIRST - 1: "<|0.00|>", end: "<|endoftext|>", **dict(enumerate(spoken(shape.tokens), FIRST))}
    for place, token in said.items():
        embeddings[tokenizer.token_to_id(token)] += _SURE / width * codes[place]
    decoder.embeddings.weight = decoder.projection.weight = embeddings.astype(np.float16)
    _norm(decoder.layer_norm, width)
    for number, layer in enumerate(decoder.layer):
        _self_attention(layer.self_attention, width, random)
        _cross_attention(layer.attention, width, [head for at, head in shape.alignment if at == number], random)
        _feed_forward(layer.ffn, width, random)


def _bumps(places: NDArray[Any]) -> Floats:
    """Each place (0…64) as 64 numbers: a hill around it. The product of two is large where the places are near."""
    distance = np.asarray(places, np.float32)[:, None] - np.arange(HEAD, dtype=np.float32) - 0.5
    return np.exp(-(distance**2) / 2).astype(np.float32)


def _self_attention(attention: Any, width: int, random: _Random) -> None:
    _norm(attention.layer_norm, width)
    _linear(attention.linear[0], random.weight(3 * width, width))
    _linear(attention.linear[1], random.weight(width, width))


def _cross_attention(attention: Any, width: int, heads: list[int], random: _Random) -> None:
    """In the ``heads`` the query is the place in the text, the key the place in the window."""
    _norm(attention.layer_norm, width)
    query, key_value = random.weight(width, width), random.weight(2 * width, width)
    for head in heads:
        rows = slice(head * HEAD, (head + 1) * HEAD)
        for weight in (query, key_value):
            weight[rows] = 0
            weight[rows, :HEAD] = 4 * np.eye(HEAD)
    _linear(attention.linear[0], query)
    _linear(attention.linear[1], key_value)
    _linear(attention.linear[2], random.weight(width, width))


def _feed_forward(ffn: Any, width: int, random: _Random) -> None:
    _norm(ffn.layer_norm, width)
    _linear(ffn.linear_0, random.weight(4 * width, width))
    _linear(ffn.linear_1, random.weight(width, 4 * width))


def _norm(norm: Any, width: int) -> None:
    norm.gamma, norm.beta = np.ones(width, np.float16), np.zeros(width, np.float16)


def _linear(linear: Any, weight: NDArray[np.float16]) -> None:
    linear.weight, linear.bias = weight, np.zeros(len(weight), np.float16)
