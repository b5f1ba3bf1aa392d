"""The portal as a browser without script meets it: pages are read, and their forms are filled in and sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urlencode

from tests.harness.gateway import Rig, body_of

HTML = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n"


@dataclass(frozen=True)
class Form:
    """A form as it stands in a page."""

    action: str
    fields: dict[str, str]


class Shown(HTMLParser):
    """A page: its forms, links, cards and text."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[str] = []
        self.cards: dict[str, str] = {}
        self.text = ""
        self._quiet = False
        self.feed(body_of(answer).decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self._quiet = tag in {"style", "script"}
        if tag == "form":
            self.forms.append(Form(found["action"], {}))
        elif tag == "input":
            self.forms[-1].fields[found["name"]] = found["value"]
        elif tag == "a":
            self.links.append(found["href"])
        elif "data-name" in found:
            self.cards[found["data-name"]] = found["data-status"]

    def handle_data(self, data: str) -> None:
        if not self._quiet:
            self.text += data

    def form(self, action: str) -> Form:
        return next(form for form in self.forms if form.action == action)


async def shown(rig: Rig, target: str = "/", *, extra: str = "", host: str | None = None) -> Shown:
    return Shown(await rig.get(target, extra=HTML + extra, host=host))


def post_form(rig: Rig, form: Form, *, extra: str | None = None, host: str | None = None) -> bytes:
    """The request that pressing the button makes; `extra` replaces what browsers say of where it comes from."""
    authority = host or rig.authority
    if extra is None:
        extra = f"Origin: http://{authority}\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\n"
    body = urlencode(form.fields)
    return (
        f"POST {form.action} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\nAccept: text/html\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n{extra}\r\n{body}"
    ).encode()


def location(answer: bytes) -> str:
    found = re.search(rb"\r\nLocation: ([^\r]*)\r\n", answer)
    return found[1].decode() if found else ""
