"""Append-only, hash-chained audit stores."""
