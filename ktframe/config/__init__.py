"""What a user may say: settings and where they come from, durations, moments. Parsed and refused here, once."""
