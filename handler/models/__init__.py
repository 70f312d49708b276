"""Models that lie in buckets: brought to this machine's disk before the catalog looks, and put there in the first
place.

`library` gives a worker its models, `mirror` brings one from a bucket, `parts` is the download of one file, `places`
how a revision becomes what a name means, `push` the way into a bucket, `hub` the processes that talk to the hub,
`survey` what there is. Nothing here loads a model: weights are files.
"""
