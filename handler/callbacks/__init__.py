"""Callbacks: a finished input's result, or its error, sent to the address that its options name.

A delivery that is due is an object in the bucket, written before the input is settled, so that no crash loses it; any
worker may take it. `Courier` is the worker's side of it, `Transport` the network's, `guard` what keeps a worker from
being sent after its own network.
"""
