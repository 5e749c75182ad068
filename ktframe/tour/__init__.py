"""What can be tried without Kafka: sample topics and the demo connection."""
