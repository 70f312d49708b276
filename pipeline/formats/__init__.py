"""A transcript as text that others read: Deepgram's JSON. Free of torch and numpy: the handler imports it."""
