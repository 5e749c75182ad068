"""Kafka topics as Polars DataFrames."""
