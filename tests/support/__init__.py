"""What the tests share: the real broker, its topics and waiting with a deadline."""
