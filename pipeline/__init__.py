"""Audio in, Deepgram JSON out. Knows models and GPUs; knows nothing of buckets (see ``handler``)."""
