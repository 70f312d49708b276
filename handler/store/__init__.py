"""Object stores behind one protocol: S3-compatible servers, a plain folder, memory. `open_store` takes a URL."""
