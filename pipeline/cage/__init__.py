"""What the engine gives up before it reads a byte of anybody's: `confine.confine`, once and for good.

Hostile media and models are handled in a process that has no credentials in its environment. In a cage it also cannot
read those of others, open a connection, or take the machine's memory with it. Knows nothing of jobs and settings.
"""
