"""The parts that are not ours: Kafka, Triton and an MQTT broker, each behind the same small interface."""
