"""The only code that talks to Kafka and to schema registries. Nothing here knows tables or stores."""
