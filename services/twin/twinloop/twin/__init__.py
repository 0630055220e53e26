"""The digital twin: estimates where a process stands, forecasts a change, and releases or rejects it."""
