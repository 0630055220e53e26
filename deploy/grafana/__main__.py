"""`python -m grafana`: write the dashboards to where the chart and Compose take them from."""

from __future__ import annotations

from grafana.files import write

if __name__ == "__main__":
    write()
