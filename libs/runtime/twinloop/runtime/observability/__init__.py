"""What a service tells of itself: log lines, metrics, and spans."""
