"""One worker: `intake` finds out what an input is, `attempt` runs a claimed job, `loop` puts them together and goes
on.
"""

from handler.worker.endings import Tally
from handler.worker.loop import Worker

__all__ = ["Tally", "Worker"]
