"""Randomised rounds of faults on a real Kafka: every public read is compared with an oracle. See docs/faults.md."""
