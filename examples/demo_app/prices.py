"""The service `prices`: what an item costs, and a large download.

The copy on the laptop is this program again, with a change: a discount.
"""

from __future__ import annotations

import argparse
import threading
from urllib.parse import parse_qs, urlsplit

from examples.demo_app import blob
from examples.demo_app.service import Handler, Service

LIST_PRICE = 100


class Counters:
    """What the service saw, for the report of the demo."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.requests = 0
        self.downloads = 0
        self.download_connections = 0


def make_handler(served_by: str, discount: int, counters: Counters) -> type[Handler]:
    """Return the request handler of one copy of the service."""

    class Prices(Handler):
        is_counted = False

        def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
            parts = urlsplit(self.path)
            if parts.path == "/price":
                with counters.lock:
                    counters.requests += 1
                self.reply({"price": LIST_PRICE - discount, "served_by": served_by})
            elif parts.path == "/download":
                self.send_download(int(parse_qs(parts.query)["mib"][0]))
            elif parts.path == "/seen":
                names = ("requests", "downloads", "download_connections")
                self.reply({name: getattr(counters, name) for name in names})
            else:
                self.reply({"error": "there is /price, /download?mib=N and /seen"}, 404)

        def send_download(self, count: int) -> None:
            with counters.lock:
                counters.downloads += 1
                # A connection that asks twice is one connection.
                counters.download_connections += not self.is_counted
                self.is_counted = True
            self.send_response(200)
            self.send_header("Content-Length", str(count * blob.BLOCK_BYTES))
            self.send_header("X-Served-By", served_by)
            self.end_headers()
            for number, pattern in blob.blocks(count):
                self.wfile.write(number)
                self.wfile.write(pattern)

    return Prices


def main() -> None:
    """Run the service."""
    parser = argparse.ArgumentParser(description="A service of the demo: prices and a download.")
    parser.add_argument("--served-by", default="cluster", help="what the copy calls itself")
    parser.add_argument("--discount", type=int, default=0, help="the change that is tried out")
    options = parser.parse_args()
    Service(make_handler(options.served_by, options.discount, Counters())).run("prices")


if __name__ == "__main__":
    main()
