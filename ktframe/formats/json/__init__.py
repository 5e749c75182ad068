"""JSON objects to typed columns and back."""
