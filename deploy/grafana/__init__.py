"""Grafana's dashboards as code: `make dashboards` writes helm/twinloop/files/dashboards/*.json."""
