"""The cage that a worker's engine is put into, from the settings; and what of this process is hidden from it.

Gives `pipeline.cage.wish.Cage`s. The engine runs as the same user, so what it must not see is kept from it by the
kernel: see docs/security.md. Knows nothing of how.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import resource
import sys
from pathlib import Path

from handler.settings import Settings
from pipeline.cage.wish import Cage
from pipeline.companions import AUTO, folders_of
from pipeline.shelf import is_bucket, source_folder

log = logging.getLogger(__name__)

_PR_SET_DUMPABLE = 4  # linux/prctl.h
_GPU = Path("/dev/nvidiactl")  # there wherever NVIDIA's driver is


def cage_of(settings: Settings, home: Path) -> Cage:
    """``home``: the engine's work directory. The models' folder is made if it is missing: what is brought into it
    later must be in sight, too.
    """
    with contextlib.suppress(OSError):
        settings.home.mkdir(parents=True, exist_ok=True)
    return Cage(
        network=settings.engine_network,
        files=settings.engine_files,
        read=tuple(dict.fromkeys(str(path) for path in (*_models(settings), *_linked(home)))),
        write=(str(home.absolute()),),
        gpu=settings.device != "cpu" and _GPU.exists(),
        data_bytes=settings.engine_data_bytes,
    )


def _models(settings: Settings) -> list[Path]:
    """Folders of models, and the model that is named by its path."""
    found = [settings.home.absolute(), *folders_of(settings.models, settings.home)]
    source = source_folder(settings.models, settings.home)  # which may be one model, and no folder of some
    if source is not None:
        found.append(source)
    for name in (settings.model, settings.separator, settings.aligner, settings.diarizer):
        path = Path(name).expanduser()
        if name != AUTO and not is_bucket(name) and path.exists():
            found.append(path)
    return [path.absolute() for path in found]


def _linked(home: Path) -> list[Path]:
    """The recording of `dropscribe run`: a link in the work directory. A worker has copies, and no links there."""
    with contextlib.suppress(OSError):
        return [path.resolve() for path in home.iterdir() if path.is_symlink()]
    return []


def hide() -> None:
    """From now on no process of this user can read this one's memory and environment, in which credentials are, and
    no core of it is written. Whoever asks for that with root's rights still can.
    """
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        log.warning("this process cannot be hidden from its engine: the kernel does not allow it")
