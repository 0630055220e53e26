"""What the tests against real parts have in common."""
