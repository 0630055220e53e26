"""The demo: scenarios, how they are played on a running stack, and the verdict counted in the topics."""
