"""`python -m docs`: write the pages that are made from the code."""

from __future__ import annotations

from docs import metrics_page, topics_page

if __name__ == "__main__":
    for made in (metrics_page, topics_page):
        made.PAGE.write_text(made.page())
