"""A look at a cluster or a topic before anything is loaded."""
