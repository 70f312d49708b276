"""Models that lie in buckets: brought to this machine's disk before the catalog looks, and put there in the first
place.

`library` gives a worker its models, `companions` those beside the recogniser; `mirror` brings one from a bucket,
`parts` is the download of one file, `places` how a revision becomes what a name means, `push` the way into a bucket,
`wares` the two sorts that are carried so; `hub` the processes that talk to the hub; `survey` and `survey_beside` what
there is, in rows of `entry`. Nothing here loads a model: weights are files.
"""
