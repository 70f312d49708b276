"""A process that goes into a cage, tries what a hole in a decoder would let somebody try, and says what came of it.

``python caged.py CAGE ATTEMPTS``, both JSON: what `pipeline.cage.wish.Cage` takes, null for none; and pairs of a name
in `ATTEMPTS` and its argument. Writes one JSON object: ``lacking`` (what `confine` gives), ``outcomes`` (``done``, or
the name of the error, for each attempt), ``limits`` and what else the kernel says of the process.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.cage.confine import confine
from pipeline.cage.kernel import call
from pipeline.cage.wish import Cage


def connect(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass


def connect_from_thread(port: int) -> None:
    failed: list[BaseException] = []

    def act() -> None:
        try:
            connect(port)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def connect_from_program(port: int) -> None:
    """Another program is as shut in as the one that started it."""
    code = f"import socket; socket.create_connection(('127.0.0.1', {port}), timeout=5)"
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)


def unix(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.connect(path)


def udp(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.sendto(b"a secret", ("127.0.0.1", port))


def pair(argument: object) -> None:
    for end in socket.socketpair():
        end.close()


def write(path: str) -> None:
    Path(path).write_text("altered")


def alter(path: str) -> None:
    """In its place: another right than cutting it short."""
    with open(path, "r+b") as file:
        file.write(b"altered")


def trace(pid: int) -> None:
    """PTRACE_SEIZE, and let go."""
    if ctypes.CDLL(None, use_errno=True).ptrace(0x4206, pid, 0, 0):
        raise OSError(ctypes.get_errno(), "ptrace")


def of_a_child(act: Callable[[int], None]) -> Callable[[object], None]:
    """With a process that may do no more than this one, so that nothing but a filter can forbid it."""

    def attempt(argument: object) -> None:
        pid = os.fork()
        if pid == 0:
            signal.pause()
        try:
            act(pid)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    return attempt


class _Part(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def read_memory(pid: int) -> None:
    """process_vm_readv, of a page that both have."""
    page = ctypes.create_string_buffer(8)
    part = _Part(ctypes.addressof(page), 8)
    call("process_vm_readv", pid, ctypes.byref(part), 1, ctypes.byref(part), 1, 0)


def write_memory(pid: int) -> None:
    page = ctypes.create_string_buffer(8)
    part = _Part(ctypes.addressof(page), 8)
    call("process_vm_writev", pid, ctypes.byref(part), 1, ctypes.byref(part), 1, 0)


def take_descriptor(pid: int) -> None:
    process = os.pidfd_open(pid)
    try:
        os.close(call("pidfd_getfd", process, 1, 0))
    finally:
        os.close(process)


def other_abi(argument: object) -> None:
    """socket(AF_INET, SOCK_STREAM, 0) by its number among x32's calls."""
    library = ctypes.CDLL(None, use_errno=True)
    made = library.syscall(0x40000000 + 41, socket.AF_INET, socket.SOCK_STREAM, 0)
    if made < 0:
        raise OSError(ctypes.get_errno(), "socket")
    os.close(made)


def ring(argument: object) -> None:
    parameters = ctypes.create_string_buffer(120)
    os.close(call("io_uring_setup", 1, parameters))


def ask_for(count: int) -> None:
    mmap.mmap(-1, count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()


ATTEMPTS: dict[str, Callable[[Any], object]] = {
    "connect": connect,
    "connect from a thread": connect_from_thread,
    "connect from a program": connect_from_program,
    "udp": udp,
    "unix socket": unix,
    "pair of sockets": pair,
    "io_uring": ring,
    "read": lambda path: Path(path).read_bytes()[:1],
    "list": os.listdir,
    "write": write,
    "alter": alter,
    "signal": lambda pid: os.kill(pid, 0),
    "trace": trace,
    "trace a child": of_a_child(trace),
    "read a child": of_a_child(read_memory),
    "write a child": of_a_child(write_memory),
    "take from a child": of_a_child(take_descriptor),
    "other abi": other_abi,
    "run": lambda path: subprocess.run([path], check=True, stdout=subprocess.DEVNULL),
    "memory": ask_for,
}


def outcome(name: str, argument: Any) -> str:
    try:
        ATTEMPTS[name](argument)
    except Exception as error:
        return type(error).__name__
    return "done"


def main(cage: str, attempts: str) -> None:
    given = json.loads(cage)
    lacking = [] if given is None else confine(Cage.model_validate(given))
    outcomes = [outcome(name, argument) for name, argument in json.loads(attempts)]
    limits = {
        name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in ("CORE", "NOFILE", "NPROC", "DATA")
    }
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    told = {"lacking": lacking, "outcomes": outcomes, "limits": limits, "no_new_privs": status["NoNewPrivs"]}
    told |= {"capabilities": int(status["CapEff"], 16), "oom": Path("/proc/self/oom_score_adj").read_text().strip()}
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
