"""What the tiny models of NeMo's classes have in common."""

from __future__ import annotations

from typing import Any

MODULES = "nemo.collections.asr.modules"


def mel_features(rate: int, *, normalize: str) -> dict[str, Any]:
    """The configuration of what makes spectra of sound, with half of the usual number of features."""
    return {
        "_target_": f"{MODULES}.AudioToMelSpectrogramPreprocessor",
        "normalize": normalize,
        "window_size": 0.025,
        "sample_rate": rate,
        "window_stride": 0.01,
        "window": "hann",
        "features": 40,
        "n_fft": 512,
        "frame_splicing": 1,
        "dither": 0.00001,
    }
