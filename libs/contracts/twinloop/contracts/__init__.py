"""What services say to each other: topics, telemetry frames, events and the life cycle of a change.

Pure: nothing here touches a network, a clock or the environment.
"""
