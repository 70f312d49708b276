"""Shuts this process into a `Cage`, before it reads anything of anybody's and while it has one thread.

Each bar is put up for itself: where the kernel, a container's rules or the machine do not allow one, the others still
hold, and what is missing comes back as sentences to be logged. Nothing raises. Knows nothing of what runs inside.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.cage import calls, paths
from pipeline.cage.kernel import PR_SET_NO_NEW_PRIVS, call, prctl
from pipeline.cage.wish import Cage
from pipeline.memory import machine_bytes

OPEN_FILES = 4096
PROCESSES = 16_384  # of the user, threads included, on the whole machine: what the kernel counts
_OOM_SCORE = Path("/proc/self/oom_score_adj")  # proc(5)
_FIRST_TO_GO = "500"  # of 1000: before the handler, which has to tell the tale
_CAPABILITIES = 0x20080522  # linux/capability.h, version 3: two words each of what is effective, permitted, inherited
_READS_ANYTHING = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: a root's models may be another user's

# The system's own, readable for all anyway. Of /etc only what libraries look for: /etc/dropscribe.env is not theirs.
_SYSTEM = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store", "/gnu/store", "/sys",
    "/etc/alternatives", "/etc/fonts", "/etc/group", "/etc/host.conf", "/etc/hosts", "/etc/ld.so.cache",
    "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/locale.alias", "/etc/localtime", "/etc/mime.types",
    "/etc/nsswitch.conf", "/etc/nvidia", "/etc/OpenCL", "/etc/os-release", "/etc/passwd", "/etc/timezone",
    "/etc/vulkan", "/run/nvidia", "/run/nvidia-persistenced", "/run/opengl-driver", "/var/lib/nvidia",
)  # fmt: skip
_ALTERED = ("/dev", "/proc")  # a GPU's devices, shared memory, the names of its own threads
_SEARCHED = ("LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH")
_LINKS = 10_000  # entries of models' folders that are looked at for links
_DEEP = 4  # folders in folders


def confine(cage: Cage) -> list[str]:
    """What of it could not be had, a sentence each; empty as a rule on Linux 5.13 and later."""
    found = [_tried("a limit on its resources", lambda: _limit(cage))]
    if sys.platform != "linux":
        return [line for line in found if line] + [f"{sys.platform} has no way to shut the engine in"]
    found.append(_tried("giving up rights it may have (no_new_privs)", lambda: prctl(PR_SET_NO_NEW_PRIVS, 1)))
    if cage.files == "own":
        _move_temporary(cage)
        rights = list(_rights(cage))  # links are followed before they cannot be any more
        network = cage.network == "host"
        found.append(_tried("keeping its files apart (Landlock)", lambda: paths.enclose(rights, network=network)))
    families = calls.LOCAL_FAMILIES if cage.gpu else ()
    refused = "keeping it from the network and from other processes (seccomp)"
    found.append(_tried(refused, lambda: calls.refuse(network=cage.network == "host", families=families)))
    if os.geteuid() == 0:
        found.append(_tried("giving up root's capabilities", _drop_capabilities))
    return [line for line in found if line]


def _tried(what: str, act: Callable[[], object]) -> str:
    try:
        act()
    except (OSError, ValueError, AttributeError) as error:
        return f"{what} is not possible here: {error}"
    return ""


def _limit(cage: Cage) -> None:
    _lower(resource.RLIMIT_CORE, 0)  # a core would hold recordings, and lie about
    _lower(resource.RLIMIT_NOFILE, OPEN_FILES)
    _lower(resource.RLIMIT_NPROC, PROCESSES)
    data = cage.data_bytes or (None if cage.gpu else machine_bytes())
    if data is not None:
        _lower(resource.RLIMIT_DATA, data)
    with contextlib.suppress(OSError):  # not on every system, and only a wish
        if int(_OOM_SCORE.read_text()) < int(_FIRST_TO_GO):
            _OOM_SCORE.write_text(_FIRST_TO_GO)


def _lower(kind: int, limit: int) -> None:
    """Never above what holds already; the hard limit too, so that it stays."""
    hard = resource.getrlimit(kind)[1]
    most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (most, most))


def _move_temporary(cage: Cage) -> None:
    """What libraries write for a while goes where the process may write, not among the temporary files of all."""
    if cage.write:
        os.environ["TMPDIR"] = cage.write[0]
        tempfile.tempdir = None


def _drop_capabilities() -> None:
    """All but those by which root reads and writes what belongs to others; Landlock says where."""
    header = struct.pack("=II", _CAPABILITIES, 0)
    kept = (_READS_ANYTHING & _permitted()) & 0xFFFFFFFF
    data = struct.pack("=6I", kept, kept, 0, 0, 0, 0)
    call("capset", ctypes.c_char_p(header), ctypes.c_char_p(data))


def _permitted() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapPrm:"):
            return int(line.split()[1], 16)
    return 0


def _rights(cage: Cage) -> Iterator[tuple[str, int]]:
    """Every path that the process may see, and how."""
    for path in (*_SYSTEM, *_pythons(), *_variables()):
        yield path, paths.USE
    for path in (*cage.read, *links_out(cage.read)):
        yield path, paths.LOOK
    for path in (*_ALTERED, os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")):
        yield path, paths.ALTER
    for path in (*cage.write, "/dev/shm", os.environ.get("CUDA_CACHE_PATH", "")):
        yield path, paths.KEEP


def _pythons() -> Iterator[str]:
    """This Python, its packages, and ours: of a checkout `pipeline` alone, whatever lies beside it."""
    own = Path(__file__).parents[1]
    yield str(own)
    for path in (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, *sys.path):
        if path not in ("", "/", str(own.parent)):
            yield path
    if own.parent.name in ("site-packages", "dist-packages"):  # installed, beside what it needs
        yield str(own.parent)
    yield os.path.dirname(os.path.realpath(sys.executable))


def _variables() -> Iterator[str]:
    """Folders that the environment tells libraries of. What PYTHONPATH names is in ``sys.path``."""
    for name in _SEARCHED:
        yield from (path for path in os.environ.get(name, "").split(os.pathsep) if os.path.isabs(path))


def links_out(roots: tuple[str, ...]) -> Iterator[str]:
    """Where links in these folders lead to: a models' folder may be made of them."""
    left = _LINKS
    todo = [(root, 0) for root in roots]
    while todo and left > 0:
        folder, depth = todo.pop()
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                left -= 1
                if entry.is_symlink():
                    yield os.path.realpath(entry.path)
                elif depth < _DEEP and entry.is_dir(follow_symlinks=False):
                    todo.append((entry.path, depth + 1))
