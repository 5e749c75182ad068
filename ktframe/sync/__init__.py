"""Keeps a store and its view in step with a topic: the reading loop, recovery, readiness, and how callers wait."""
