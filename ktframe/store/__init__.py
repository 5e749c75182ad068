"""Local stores of rows and positions, in RocksDB or in memory. Nothing here knows Kafka, windows or streams."""
