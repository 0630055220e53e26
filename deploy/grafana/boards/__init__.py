"""The dashboards, by name. Pure."""

from __future__ import annotations

from grafana.boards import detector, loop, models, overview, vehicles

ALL = {
    "overview": overview.board,
    "detector": detector.board,
    "loop": loop.board,
    "models": models.board,
    "vehicles": vehicles.board,
}
