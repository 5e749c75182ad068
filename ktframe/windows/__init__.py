"""Which windows a time falls into and what is in a window: arithmetic and pure functions of frames."""
