"""One real recording, and the demo that transcribes it."""
