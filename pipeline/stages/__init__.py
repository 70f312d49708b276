"""The stages: each frozen in, frozen out. None knows another; `pipeline.run` strings them together."""
