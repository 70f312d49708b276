"""The text options: words in, words out. `reword` carries them all out; each rule has a module of its own."""

from pipeline.wording.reword import reword

__all__ = ["reword"]
