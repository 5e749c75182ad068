"""What users hold: tables, streams, their windows and aggregates; reading, comparing and writing them."""
