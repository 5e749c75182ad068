"""A connection: what was asked for, and what it takes to open it."""
