"""A small Whisper in PyTorch, whose attention begins by looking to places, and how to write it for CTranslate2."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from ctranslate2.specs.whisper_spec import WhisperSpec
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, FFN, MELS, FRAMES, CONTEXT = 128, 256, 80, 1500, 448
ENCODER_LAYERS, ENCODER_HEADS, DECODER_LAYERS, DECODER_HEADS = 4, 8, 4, 4
HERE = [(0, 1), (1, 0), (1, 1)]  # (layer, head) that are to be on the word given
NEXT = [(2, 0), (2, 1)]  # on the word wanted
ALIGNED = [(3, 0), (3, 1)]  # on all of it alike: word times are read from these
LAST_STAMP = 3  # the head of the first layer's self-attention that is to be on the last timestamp
OFFSETS = [
    (2, -2, 6, -6, 10, -10, 14, -14),
    (4, -4, 12, -12, 20, -20, 28, -28),
    (5, -5, 16, -16),
    (20, -20, 35, -35, 50, -50, 70, -70),
]


def sinusoids(length: int, width: int) -> Tensor:
    scales = torch.exp(-math.log(10000) / (width // 2 - 1) * torch.arange(width // 2))
    angles = torch.arange(length)[:, None] * scales[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def look(
    query: nn.Linear,
    key: nn.Linear,
    head: int,
    size: int,
    offset: float,
    gain: float,
    step: int,
    query_dims: Tensor,
    key_dims: Tensor,
) -> None:
    """Let a head look ``offset`` places ahead of the place that the query names in sinusoids."""
    half = WIDTH // 2
    with torch.no_grad():
        for n in range(size // 2):
            k = min(n * step, half - 1)
            turn = offset * math.exp(-math.log(10000) / (half - 1) * k)
            s, c = head * size + 2 * n, head * size + 2 * n + 1
            for row in (s, c):
                query.weight[row] *= 0.1
                key.weight[row] *= 0.1
            query.weight[s, query_dims[k]] += gain * math.cos(turn)
            query.weight[s, query_dims[half + k]] += gain * math.sin(turn)
            query.weight[c, query_dims[half + k]] += gain * math.cos(turn)
            query.weight[c, query_dims[k]] -= gain * math.sin(turn)
            key.weight[s, key_dims[k]] += gain
            key.weight[c, key_dims[half + k]] += gain


def place_channels(size: int) -> Tensor:
    """Those of a place that a head of this size passes on."""
    return torch.cat([torch.arange(0, size, 2), WIDTH // 2 + torch.arange(0, size, 2)])


def pass_on(attention: Attention, head: int, taken: float, given: float) -> None:
    """Let a head say, in the channels of places, what it finds in them."""
    size = WIDTH // attention.heads
    rows, channels = slice(head * size, (head + 1) * size), place_channels(size)
    with torch.no_grad():
        attention.v.weight[rows] *= 0.1
        attention.v.weight[rows, channels] += taken * torch.eye(size)
        attention.out.weight[:, rows] *= 0.1
        attention.out.weight[channels, rows] += given * torch.eye(size)


class Attention(nn.Module):
    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(WIDTH)
        self.q, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.k = nn.Linear(WIDTH, WIDTH, bias=False)
        for bias in (self.q.bias, self.v.bias, self.out.bias):
            nn.init.zeros_(bias)

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        a = F.scaled_dot_product_attention(self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h)))
        return x + self.out(a.transpose(1, 2).flatten(2))

    def told(self, x: Tensor, others: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """And the attention's logarithm (windows, heads, tokens, others): to the others, or to what was before."""
        h = self.norm(x)
        q, (k, v) = (
            self.split(self.q(h)),
            (self.split(part(h if others is None else others)) for part in (self.k, self.v)),
        )
        scores = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
        if others is None:
            scores = scores + torch.full(scores.shape[-2:], -torch.inf).triu(1)
        log = scores.log_softmax(-1)
        return x + self.out((log.exp() @ v).transpose(1, 2).flatten(2)), log


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, FFN), nn.Linear(FFN, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(MELS, WIDTH, 3, padding=1), nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.register_buffer("positions", sinusoids(FRAMES, WIDTH))
        self.attentions = nn.ModuleList(Attention(ENCODER_HEADS) for _ in range(ENCODER_LAYERS))
        self.ffns = nn.ModuleList(FeedForward() for _ in range(ENCODER_LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        same = torch.arange(WIDTH)
        for attention, offsets in zip(self.attentions, OFFSETS, strict=True):
            for head, offset in enumerate(offsets):
                look(attention.q, attention.k, head, WIDTH // ENCODER_HEADS, offset, 1.7, 3, same, same)

    def forward(self, mel: Tensor, first: int = 0) -> Tensor:
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.positions[first : first + x.shape[1]]
        for attention, ffn in zip(self.attentions, self.ffns, strict=True):
            x = ffn(attention(x))
        return self.norm(x)


class Decoder(nn.Module):
    def __init__(self, size: int, first_timestamp: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(size, WIDTH)
        # In other channels than the places of frames.
        self.positions = nn.Parameter(0.25 * sinusoids(CONTEXT, WIDTH).flip(1))
        nn.init.normal_(self.embed.weight, std=0.2)
        with torch.no_grad():
            self.embed.weight[first_timestamp:] = 0.3 * sinusoids(FRAMES + 1, WIDTH)[: size - first_timestamp]
        self.attentions = nn.ModuleList(Attention(DECODER_HEADS) for _ in range(DECODER_LAYERS))
        self.crosses = nn.ModuleList(Attention(DECODER_HEADS) for _ in range(DECODER_LAYERS))
        self.ffns = nn.ModuleList(FeedForward() for _ in range(DECODER_LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        flipped = torch.arange(WIDTH).flip(0)
        size = WIDTH // DECODER_HEADS
        pass_on(self.attentions[0], LAST_STAMP, 0.5, 0.2)
        for attention in self.attentions:
            for head, offset in ((0, -1), (1, -2), (2, -3)):
                look(attention.q, attention.k, head, size, offset, 1.5, 2, flipped, flipped)

    def locate(self, place: Tensor) -> None:
        """Begin by looking for places, and passing them on.

        ``place`` (width, width) makes the sinusoids of its place of what the encoder says of a frame.
        """
        size, same = WIDTH // DECODER_HEADS, torch.arange(WIDTH)
        with torch.no_grad():
            for n, (attention, cross) in enumerate(zip(self.attentions, self.crosses, strict=True)):
                key = nn.Linear(WIDTH, WIDTH, bias=False)
                key.weight.zero_()
                look(cross.q, key, 0, size, 0, 1.8, 2, same, same)
                cross.k.weight[:size] = (key.weight @ place)[:size]
                channels = place_channels(size)
                for head in (0, 1):
                    rows = slice(head * size, (head + 1) * size)
                    cross.v.weight[rows] = place[channels]
                    cross.out.weight[:, rows] *= 0.1
                    cross.out.weight[channels, rows] += 0.3 * torch.eye(size)
                if n:  # the place that the token before found
                    pass_on(attention, 0, 1.0, 0.1)

    def forward(self, tokens: Tensor, heard: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """tokens (windows, forms, tokens): what makes logits (`spell`), and of attention the logarithm.

        That of each layer to what is heard, and of the first layer's head `LAST_STAMP` to the tokens before.
        """
        x = self.embed(tokens) + self.positions[: tokens.shape[-1]]
        logs, own = [], []
        for attention, cross, ffn in zip(self.attentions, self.crosses, self.ffns, strict=True):
            x, log = attention.told(x.flatten(0, 1))
            own.append(log.unflatten(0, tokens.shape[:2]))
            x, log = cross.told(x.unflatten(0, tokens.shape[:2]).flatten(1, 2), heard)
            logs.append(log.unflatten(2, tokens.shape[1:]))
            x = ffn(x).view(*tokens.shape, WIDTH)
        return x, logs, own[0][:, :, LAST_STAMP]

    def spell(self, x: Tensor) -> Tensor:
        return F.linear(self.norm(x), self.embed.weight)


# ── for CTranslate2 ──────────────────────────────────────────────────────────────────────────────────────────────────


def export(encoder: Encoder, decoder: Decoder, vocabulary: list[str], config: dict, folder: Path) -> None:
    spec = WhisperSpec(ENCODER_LAYERS, ENCODER_HEADS, DECODER_LAYERS, DECODER_HEADS)
    spec.register_vocabulary(vocabulary)
    for name, value in config.items():
        setattr(spec.config, name, value)
    for there, here in ((spec.encoder.conv1, encoder.conv1), (spec.encoder.conv2, encoder.conv2)):
        there.weight, there.bias = _array(here.weight), _array(here.bias)
    spec.encoder.position_encodings.encodings = _array(encoder.positions)
    spec.decoder.position_encodings.encodings = _array(decoder.positions)
    for side, net in ((spec.encoder, encoder), (spec.decoder, decoder)):
        _norm(side.layer_norm, net.norm)
        for n, layer in enumerate(side.layer):
            attention, ffn = net.attentions[n], net.ffns[n]
            _norm(layer.self_attention.layer_norm, attention.norm)
            _join(layer.self_attention.linear[0], attention.q, attention.k, attention.v)
            _join(layer.self_attention.linear[1], attention.out)
            _norm(layer.ffn.layer_norm, ffn.norm)
            _join(layer.ffn.linear_0, ffn.up)
            _join(layer.ffn.linear_1, ffn.down)
    for layer, cross in zip(spec.decoder.layer, decoder.crosses, strict=True):
        _norm(layer.attention.layer_norm, cross.norm)
        for there, *here in zip(layer.attention.linear, ([cross.q], [cross.k, cross.v], [cross.out]), strict=True):
            _join(there, *here[0])
    spec.decoder.embeddings.weight = _array(decoder.embed.weight)
    spec.decoder.projection.weight = _array(decoder.embed.weight)
    spec.validate()
    spec.optimize(quantization="int8_float16")
    spec.save(str(folder))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy().astype(np.float32, order="C", copy=True)  # quantisation works in place


def _norm(there, here: nn.LayerNorm) -> None:
    there.gamma, there.beta = _array(here.weight), _array(here.bias)


def _join(there, *here: nn.Linear) -> None:
    """Several layers as one, one above the other."""
    there.weight = _array(torch.cat([part.weight for part in here]))
    there.bias = _array(torch.cat([torch.zeros(WIDTH) if part.bias is None else part.bias for part in here]))
