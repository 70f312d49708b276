"""Replays one disturbed run of the crash-point enumeration, with a trace.

python replay_crash.py SCENARIO [NUMBER:KIND …]        for example: first-seen 7:crash-after
"""

from __future__ import annotations

import sys

from crash_scenarios import SCENARIOS, disturbed


def main(arguments: list[str]) -> int:
    [scenario] = [one for one in SCENARIOS if one.name == arguments[0]]
    faults = tuple(
        (int(at), kind.replace("-", " ")) for at, _, kind in (point.partition(":") for point in arguments[1:])
    )
    run = disturbed(scenario, faults, trace=True)  # type: ignore[arg-type]
    print("\n".join(run.log))
    print(f"{run.replay}: {run.violations or 'right'}; work {run.work} of {run.ideal}")
    return 1 if run.violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
