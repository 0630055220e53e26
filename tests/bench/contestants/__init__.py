"""Other ways to do the detector's work, each a program of its own in the environment `bench`.

They read the same topic, cut the same windows, ask the same Triton, and publish the same anomalies."""
