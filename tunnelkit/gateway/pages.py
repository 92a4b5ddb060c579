"""What a client is told by the gateway itself: pages for people, JSON for programs (no I/O).

A page says what is wrong, and what to do about it.  It names nothing that its reader may not know:
no upstream address, and no intercept before the reader has been let in.
"""

from __future__ import annotations

import json
from html import escape
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from tunnelkit.http.answers import Reply, plain_reply
from tunnelkit.http.head import RequestHead, values_of

from .rewriting import origin_of
from .sites import Site

__all__ = ["error_reply", "login_reply", "redirect_reply", "wants_page"]

_ADVICE: Final = {
    400: "Check the address: a preview host is {port}-{service}-{hash} below the domain.",
    401: "Log in, or send a bearer token that is still valid.",
    403: "Ask the owner to share it with you, or log in as somebody else.",
    404: "Check the address; a preview that was deleted does not come back under the same one.",
    405: "Ask for the page itself: nobody is connected to another place from here.",
    408: "Try again; if it goes on, the connection on the way to here is too slow.",
    413: "Send less at once.",
    414: "Use a shorter address, and send the rest in the body.",
    431: "Send fewer or smaller headers; deleting the cookies of this site often helps.",
    501: "Use another client: this one uses a coding that nobody understands alike.",
    502: "Look whether the service runs, and at what it logs; then load the page again.",
    503: "It is away for now: wait a moment, and load the page again.",
    504: "The service takes too long: look whether it hangs, and load the page again.",
}
_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:0;background:#f5f6f8;color:#1d2330}"
    "main{max-width:38rem;margin:12vh auto;padding:2rem 2.5rem;background:#fff;"
    "border-radius:8px;box-shadow:0 1px 4px #0002}h1{font-size:1.35rem;margin:0 0 1rem}"
    "p{margin:.6rem 0}.c{color:#667;font-size:.9rem}.i{border-left:4px solid #e0a800;"
    "padding:.3rem .8rem;background:#fff9e6}code{word-break:break-word}"
    "@media(prefers-color-scheme:dark){body{background:#14171d;color:#e4e7ee}"
    "main{background:#1e232c}.c{color:#99a}.i{background:#332b10}}"
)


def wants_page(head: RequestHead | None) -> bool:
    """Return whether a person looks at the answer."""
    accepted = b",".join(values_of(head.fields, b"accept")).lower() if head is not None else b""
    return b"text/html" in accepted


def error_reply(head: RequestHead | None, status: int, why: str, site: Site | None = None) -> Reply:
    """Return what a client is told where no server answers.

    Args:
        why: what is wrong; it holds no secret.
        site: where the request was to go, if its sender may know.
    """
    advice = _ADVICE.get(status, "")
    holder = _holder(site) if status >= 500 else ""
    if wants_page(head):
        return Reply(status, _page(status, why, advice, holder), "text/html; charset=utf-8")
    return plain_reply(
        head, status, ". ".join(one.rstrip(".") for one in (why, holder, advice) if one)
    )


def _holder(site: Site | None) -> str:
    if site is None or site.intercept is None:
        return ""
    detail = f" ({site.intercept.detail})" if site.intercept.detail else ""
    return f"{site.name} is intercepted by {site.intercept.whose}{detail}: ask there first"


def _page(status: int, why: str, advice: str, holder: str) -> bytes:
    phrase = HTTPStatus(status).phrase
    note = f'<p class="i">{escape(holder)}.</p>' if holder else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{status} {escape(phrase)}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{escape(phrase)}</h1><p><code>{escape(why)}</code></p>{note}"
        f'<p>{escape(advice)}</p><p class="c">{status} · tunnelkit gateway</p>'
        "</main></body></html>\n"
    ).encode()


def login_reply(head: RequestHead, scheme: str, login_url: str) -> Reply:
    """Return how somebody unknown is asked who it is: a browser is sent to log in.

    Args:
        scheme: by which the request came, for the way back.
        login_url: where people log in; "": nowhere.
    """
    if login_url and wants_page(head) and head.method in (b"GET", b"HEAD"):
        path, host = origin_of(head)
        back = f"{scheme}://{host.decode('latin-1')}{path.decode('ascii')}"
        mark = "&" if "?" in login_url else "?"
        return redirect_reply(302, f"{login_url}{mark}next={quote(back, safe='')}")
    why = "you have to say who you are"
    body = json.dumps({"status": 401, "error": f"{why}: {_ADVICE[401]}", "login": login_url}) + "\n"
    challenge = ((b"WWW-Authenticate", b'Bearer realm="tunnelkit"'),)
    if wants_page(head):
        page = _page(401, why, _ADVICE[401], "")
        return Reply(401, page, "text/html; charset=utf-8", challenge)
    return Reply(401, body.encode(), "application/json", challenge)


def redirect_reply(status: int, location: str) -> Reply:
    """Return a redirect."""
    return Reply(status, b"", fields=((b"Location", location.encode("latin-1")),))
