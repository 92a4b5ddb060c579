"""The service `shop`: sells things, and asks the service `prices` what they cost.

It knows `prices` by one address, and does not notice who answers there.
"""

from __future__ import annotations

import argparse
import json
from http.client import HTTPConnection

from examples.demo_app.service import Handler, Service


def make_handler(prices: str) -> type[Handler]:
    """Return the request handler; *prices* is the address of the other service."""

    class Shop(Handler):
        def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
            connection = HTTPConnection(prices, timeout=20)
            try:
                connection.request("GET", "/price?item=apple")
                answer = json.loads(connection.getresponse().read())
            except (OSError, ValueError) as error:
                self.reply({"error": f"prices at {prices} did not answer: {error}"}, 502)
                return
            finally:
                connection.close()
            self.reply({"item": "apple", **answer})

    return Shop


def main() -> None:
    """Run the service."""
    parser = argparse.ArgumentParser(description="A service of the demo: the shop.")
    parser.add_argument("--prices", required=True, metavar="HOST:PORT", help="where prices is")
    Service(make_handler(parser.parse_args().prices)).run("shop")


if __name__ == "__main__":
    main()
