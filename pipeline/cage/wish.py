"""What a cage is to be like, as data: the handler writes it, the engine is started with it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.types import Frozen

Network = Literal["none", "host"]
Files = Literal["own", "host"]


class Cage(Frozen):
    """``network``: ``none`` for a process that opens no connection. ``files``: ``own`` for one that sees the system's
    programs and libraries, Python and its packages, ``read`` (paths of files and folders) and ``write`` (of folders),
    and nothing else. ``gpu``: it may compute on one. ``data_bytes``: the memory it may ask for; None: the machine's,
    or, with a GPU, any, as drivers set far more apart than they use.
    """

    network: Network = "none"
    files: Files = "own"
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    gpu: bool = False
    data_bytes: int | None = Field(None, ge=1)
