"""The reference plant: welding stations with PLCs, for the demo and tests. Illustrative, not validated."""
