"""A connection to a cluster: its clients, the tables users hold, and how each is opened."""
