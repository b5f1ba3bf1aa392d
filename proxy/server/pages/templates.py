"""Pages in HTML: templates with their style and script inside, and the policy that admits these and nothing else.

The rule: a page loads nothing. Style and script are ours, stand in the page itself and are named by their hashes, so
that nothing which found its way into a page could run; what a page shows is escaped. It must not know what the pages
are about.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from proxy.server.pages.answer_body import AnswerBody

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES: Final = files("proxy.server").joinpath("templates")


def _text(name: str) -> str:
    return _TEMPLATES.joinpath(name).read_text("utf-8")


def _source(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


SCRIPT: Final = _text("live.js")
"""Refreshes what is shown; pages work without it."""


@dataclass(frozen=True, slots=True)
class PageTemplate:
    """A template with its style, and who may show it in a frame (a source of CSP's `frame-ancestors`)."""

    template: str
    style: str
    frame_ancestors: str

    def page(self, *, live: bool, forms: bool, **values: Any) -> AnswerBody:
        """The page, with the script (`live`), and with forms. `values` are those of the template."""
        headers = (
            # Under `no-referrer` a form's request would carry `Origin: null` (Fetch, "append a request Origin header"),
            # which on plain http is anybody's.
            ("Referrer-Policy", "same-origin" if forms else "no-referrer"),
            ("Content-Security-Policy", self._policy(live=live, forms=forms)),
        )
        return AnswerBody("text/html; charset=utf-8", self._render(live=live, **values), headers)

    def _policy(self, *, live: bool, forms: bool) -> str:
        form_action = "'self'" if forms else "'none'"
        script = f"script-src {_source(SCRIPT)}; connect-src 'self'; " if live else ""
        return (
            f"default-src 'none'; {script}style-src {_source(self.style)}; base-uri 'none'; "
            f"form-action {form_action}; frame-ancestors {self.frame_ancestors}"
        )

    def _render(self, *, live: bool, **values: Any) -> bytes:
        from markupsafe import Markup

        ours = {"style": Markup(self.style), "script": Markup(SCRIPT if live else "")}  # noqa: S704 - our own files
        return _environment().get_template(self.template).render(**values, **ours).encode()


# JupyterLab shows documents of the same origin in frames, and their errors belong there.
ERROR: Final = PageTemplate("error.html", _text("theme.css") + _text("error.css"), "'self'")
LINK: Final = PageTemplate("link.html", _text("theme.css") + _text("error.css"), "'none'")
PORTAL: Final = PageTemplate("portal.html", _text("theme.css") + _text("portal.css"), "'none'")


@cache
def _environment() -> Environment:
    # Not before a page is shown: most answers of a gateway that is well are not pages of its own.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("proxy.server"), autoescape=True, undefined=StrictUndefined, auto_reload=False
    )
