"""What plants and vehicles send, made into telemetry frames and genealogy on Kafka."""
