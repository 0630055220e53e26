"""Scores telemetry: windows of frames, judged by models on Triton, anomalies published."""
