"""Settings, where they come from, durations and moments: text from users is parsed and checked here, once."""
