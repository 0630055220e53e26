"""The controller: diagnoses anomalies, proposes changes, and measures what they did."""
