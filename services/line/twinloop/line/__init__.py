"""Carries released changes to the PLC, once each, and reads back what the device then holds."""
