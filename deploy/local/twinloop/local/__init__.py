"""Real parts and services on one machine, without containers: install, start, watch, stop."""
