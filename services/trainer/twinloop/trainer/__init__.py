"""A job that fits models on recorded telemetry and puts them into service on Triton."""
