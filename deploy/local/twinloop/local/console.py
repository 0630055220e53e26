"""What a person sees while a stack starts and stops; plain lines where the output is no terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from twinloop.local.events import Event, Kind


class Printer:
    """Shows the events of a stack as lines: a `Listener`."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, event: Event) -> None:
        """Show one event."""
        name = f"{event.name:<10}"
        match event.kind:
            case Kind.STARTING if self._console.is_terminal:
                self._line(f"[dim]starting {name}[/]")
            case Kind.READY:
                self._line(f"[green]ready[/]    {name} {event.took_s:5.1f} s  {escape(event.text)}".rstrip())
            case Kind.UP:
                self._line(f"[bold green]up[/]       everything is ready after {event.took_s:.1f} s")
            case Kind.STOPPED:
                self._line(f"[dim]stopped[/]  {name}")

    def _line(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)


def table(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table; columns padded with spaces where the output is no terminal."""
    if console.is_terminal:
        shown = Table(*columns, box=None, header_style="bold")
        for row in rows:
            shown.add_row(*(escape(cell) for cell in row))
        console.print(shown)
        return
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
