"""What Prometheus sees of the loop, asked in its container. Exit status 1 when it cannot scrape a program."""

import json
import sys
import urllib.request


def ask(path: str) -> "dict[str, list[dict[str, object]]]":
    with urllib.request.urlopen(f"http://127.0.0.1:9090/api/v1/{path}", timeout=10) as answer:
        return json.load(answer)["data"]


targets = ask("targets?state=active")["activeTargets"]
down = sorted(f"{one['scrapeUrl']} ({one['lastError']})" for one in targets if one["health"] != "up")
firing = sorted({one["labels"]["alertname"] for one in ask("alerts")["alerts"] if one["state"] == "firing"})
up, told = len(targets) - len(down), ", ".join(firing) or "none"
sys.stdout.write(f"Prometheus: {up} of {len(targets)} targets up, firing: {told}\n")
if down or not targets:
    sys.exit(f"Prometheus cannot scrape {'; '.join(down) or 'anything'}")
