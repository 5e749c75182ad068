"""Threads and processes: calls that Ctrl-C can't break, and what a forked process may not use."""
