"""Keeps topics as Parquet files named by topic, partition and offsets: each record exactly once."""
