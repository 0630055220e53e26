"""What every service stands on: life cycle, settings, health, metrics, logging, Kafka in and out."""
