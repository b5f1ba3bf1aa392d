"""A page, or what programs get in its place, before it is an answer: its bytes, and the fields that belong to them."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import hdrs, web

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class AnswerBody:
    """A body with its fields; the status is for whoever answers to say."""

    content_type: str
    body: bytes
    headers: Headers = ()

    def response(self, *, status: int = 200) -> web.Response:
        """As aiohttp's handlers answer it."""
        fields = {hdrs.CONTENT_TYPE: self.content_type, **dict(self.headers)}
        return web.Response(status=status, body=self.body, headers=fields)
