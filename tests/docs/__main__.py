"""`python -m docs`: write the pages that are made from the code."""

from __future__ import annotations

from docs.metrics_page import PAGE, page

if __name__ == "__main__":
    PAGE.write_text(page())
