"""Tests of the chart helm/twinloop, and what writes the parts of it that are made from other things."""
