"""What a person sees while a stack starts and stops; plain lines where the output is no terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from twinloop.local.events import Event, Kind, Listener


def listener(console: Console) -> Listener:
    """Shows the events of a stack as lines."""

    def show(event: Event) -> None:
        name = f"{event.name:<10}"
        if event.kind is Kind.READY:
            where = f"  {escape(event.text)}" if event.text else ""
            console.print(f"[green]ready[/]    {name} {event.took_s:5.1f} s{where}", highlight=False)
        elif event.kind is Kind.STOPPED:
            console.print(f"[dim]stopped[/]  {name}", highlight=False)
        elif event.kind is Kind.UP:
            console.print(
                f"[bold green]up[/]       everything is ready after {event.took_s:.1f} s", highlight=False
            )
        elif event.kind is Kind.STARTING and console.is_terminal:
            console.print(f"[dim]starting {name}[/]", highlight=False)

    return show


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
