"""The way down when memory runs out: smaller batches, then a lighter compute type, then another device; and back up.

Takes rungs, best first, and how to load the model for one; runs steps over items in batches that fit. Holds the one
loaded model, because to change rungs is to load it again. Knows nothing of what the model is or does: any stage that
computes in batches can stand on one.

The rules:

- A step that runs out of memory is done again with half of its items; one that fails with a single item is done again
  on the next rung. Items that are done stay done.
- Where it got to is remembered for the next jobs. After `PATIENCE` jobs without a failure the next one begins at the
  top again; each time that fails, it takes twice as many jobs until the next try.
- A rung whose device cannot be used when the model is loaded is passed over, with all others on that device.
- A device that is lost while it computes ends it all: a CUDA context does not recover, so neither does the process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from pipeline.errors import DeviceLost, ModelUnavailable, OutOfMemory, PipelineError
from pipeline.models.failures import is_device_lost, is_of_the_gpu, is_out_of_memory, reason

log = logging.getLogger(__name__)

PATIENCE = 8  # jobs on a lower rung, or with smaller batches, before the top is tried again
LONGEST_PATIENCE = 1024
_GPU_HINT = "`dropscribe doctor` says what is wrong with it; DROPSCRIBE_DEVICE=cpu does without."

Loaded = TypeVar("Loaded")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Rung(NamedTuple):
    """Where to compute: ``cuda`` or ``cpu``, one of the library's compute types, and the items of a batch there where
    the request does not say.
    """

    device: str
    compute_type: str
    batch: int


class Below(NamedTuple):
    """A rung below the first on which something was computed, and why it was not done higher up."""

    rung: Rung
    why: str


class _Stand(NamedTuple):
    """A rung's place among them, and why it is not a higher one."""

    place: int
    why: str


class Ladder(Generic[Loaded]):
    """One model and the rungs that it may be on.

    ``load`` gives the model for a rung's device and compute type. It raises a `PipelineError` for what no rung could
    help, and the library's own errors for what the device may be to blame for. ``release`` makes a model let go of its
    memory, whoever still holds it, before the next is loaded. ``why``: why the first rung is not as good as was hoped
    for; then what is computed on it counts as below, too. ``barring``: devices that a job must not use unless the model
    lies there already, and why; asked when one begins. For one thread at a time.
    """

    def __init__(
        self,
        rungs: Sequence[Rung],
        load: Callable[[Rung], Loaded],
        release: Callable[[Loaded], None] = lambda loaded: None,
        why: str = "",
        barring: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        if not rungs:
            raise ValueError("a ladder needs a rung")
        self._rungs = tuple(rungs)
        self._load = load
        self._release = release
        self._barring = barring
        self._loaded: tuple[int, Loaded] | None = None  # with the index of its rung
        self._top = _Stand(0, why)
        self._now = self._kept = self._top  # for the present job, and for the next
        self._caps: dict[int, int] = {}  # the rungs' largest batches that are thought to fit, where that is known
        self._quiet = 0  # jobs since something last failed
        self._patience = PATIENCE
        self._failed = False  # in the present job
        self._below: dict[Rung, str] = {}

    @property
    def rung(self) -> Rung:
        """The rung that the next step is done on."""
        return self._rungs[self._now.place]

    @property
    def on(self) -> Rung | None:
        """The rung that the model is loaded for, None while there is no model."""
        return None if self._loaded is None else self._rungs[self._loaded[0]]

    @property
    def model(self) -> Loaded:
        """The model on the present rung, loaded if need be: on a lower rung if it does not fit. `OutOfMemory`,
        `ModelUnavailable`.
        """
        while self._loaded is None or self._loaded[0] != self._now.place:
            self.unload()
            self._try_to_load()
        return self._loaded[1]

    @property
    def below(self) -> tuple[Below, ...]:
        """What of the present job was computed on rungs below the first."""
        return tuple(Below(rung, why) for rung, why in self._below.items())

    def batch(self, asked: int | None = None) -> int:
        """How many items go into a batch now; ``asked``: by the request."""
        wanted = max(1, asked or self.rung.batch)
        return min(wanted, self._caps.get(self._now.place, wanted))

    def begin(self, barred: Mapping[str, str] | None = None) -> None:
        """A job begins. ``barred``: devices that it must not use, and why; for this job alone, and only if there are
        others. None leaves that to ``barring``.
        """
        self._quiet = 0 if self._failed else self._quiet + 1
        self._failed = False
        self._below = {}
        if self._quiet >= self._patience and (self._kept != self._top or self._caps):
            log.info("trying %s again", _named(self._rungs[0]))
            self._kept = self._top
            self._caps = {}
            self._quiet = 0
            self._patience = min(2 * self._patience, LONGEST_PATIENCE)
        elif self._quiet >= PATIENCE and self._kept == self._top and not self._caps:
            self._patience = PATIENCE
        self._now = self._kept
        closed = self._closed() if barred is None else barred
        why = closed.get(self.rung.device)
        usable = (n for n, rung in enumerate(self._rungs) if n > self._kept.place and rung.device not in closed)
        if why is not None and (found := next(usable, None)) is not None:
            self._now = _Stand(found, why)
            log.warning("%s: this job is done on %s", why, _named(self.rung))

    def run(
        self,
        items: Sequence[Item],
        step: Callable[[Loaded, Sequence[Item]], Sequence[Result]],
        *,
        batch: int | None = None,
    ) -> list[Result]:
        """The results for all items, in order. ``step`` takes the model and up to ``batch`` items, gives one result
        for each, and may be called again for the same items.

        `OutOfMemory`: a single item fits on no rung. `DeviceLost`. What else ``step`` raises is raised on.
        """
        done: list[Result] = []
        while len(done) < len(items):
            model = self.model  # before the batch is cut: it may come to lie on a lower rung
            piece = items[len(done) : len(done) + self.batch(batch)]
            try:
                found = step(model, piece)
                why = None
            except Exception as error:
                why = self._why_down(error)
                if why is None:
                    raise
            # Not in the handler: the exception keeps alive what the step had in hand, which is what must go.
            del model
            if why is not None:
                self._down(len(piece), why)
                continue
            if len(found) != len(piece):
                raise ValueError(f"a step gave {len(found)} results for {len(piece)} items")
            done += found
            if self._now.why:
                self._below.setdefault(self.rung, self._now.why)
        return done

    def unload(self) -> None:
        """Let go of the model; the next use loads it again."""
        if self._loaded is not None:
            held, self._loaded = self._loaded[1], None
            self._release(held)

    def _closed(self) -> Mapping[str, str]:
        if self.rung.device == "cpu" or (self.on is not None and self.on.device == self.rung.device):
            return {}  # where it lies already, what is in use is mostly its own
        return self._barring()

    def _try_to_load(self) -> None:
        """Load for the present rung, or step down."""
        rung, index = self.rung, self._now.place
        why = None
        try:
            self._loaded = index, self._load(rung)
        except PipelineError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                why = f"{_memory_of(rung)} ran out when the model was loaded ({reason(error)})"
                whole_device = False
            elif rung.device != "cpu" and is_of_the_gpu(error):
                why = f"the GPU cannot be used ({reason(error)})"
                whole_device = True
            else:
                raise
            if not self._leave(why, whole_device=whole_device):
                raise (ModelUnavailable(why, _GPU_HINT) if whole_device else OutOfMemory(why)) from error
        if why is None:
            log.info("the model is loaded on %s", _named(rung))

    def _why_down(self, error: Exception) -> str | None:
        """Why the step failed, if that is something to step down for; None if it is not."""
        if is_out_of_memory(error):
            return f"{_memory_of(self.rung)} ran out ({reason(error)})"
        if self.rung.device != "cpu" and is_device_lost(error):
            raise DeviceLost(f"the GPU was lost in the middle of the work: {reason(error)}") from error
        return None

    def _down(self, tried: int, why: str) -> None:
        """After a step with that many items ran out of memory."""
        if tried > 1:
            self._failed = True
            self._caps[self._now.place] = tried // 2
            log.warning("%s, %d at once on %s: going on with %d", why, tried, _named(self.rung), tried // 2)
        elif not self._leave(why):
            raise OutOfMemory(why)

    def _leave(self, why: str, *, whole_device: bool = False) -> bool:
        """On to the next rung, or to the next device. False if there is none."""
        self._failed = True
        index, device = self._now.place, self.rung.device
        below = range(index + 1, len(self._rungs))
        found = next((n for n in below if not whole_device or self._rungs[n].device != device), None)
        if found is None:
            return False
        log.warning("%s: from %s to %s", why, _named(self.rung), _named(self._rungs[found]))
        if self._now == self._kept:
            self._kept = _Stand(found, why)
        self._now = _Stand(found, why)
        return True


class OnLadder(Generic[Loaded]):
    """A model that stands on a ladder, kept from job to job. `begin` each job; for one thread at a time."""

    def __init__(self, ladder: Ladder[Loaded]) -> None:
        self._ladder = ladder

    @property
    def rung(self) -> Rung:
        return self._ladder.rung

    @property
    def below(self) -> tuple[Below, ...]:
        return self._ladder.below

    def begin(self) -> None:
        """A job begins, and the model is there for it. Raises as `Ladder.model` does."""
        self._ladder.begin()
        _ = self._ladder.model

    def unload(self) -> None:
        """Let go of the weights; what the ladder has learnt stays."""
        self._ladder.unload()


def _memory_of(rung: Rung) -> str:
    return "the machine's memory" if rung.device == "cpu" else "the GPU's memory"


def _named(rung: Rung) -> str:
    return f"{rung.device} as {rung.compute_type}"
