"""Who calls an operation: nobody in particular, or the holder of the access key that signed the request.

The rule: where signatures are required, nobody gets past without one; where they are optional, one that names a key of
ours must be good all the same, and others, which clients make with whatever credentials they have, are not looked at.
Browsers do not speak this API: an unsigned request of a page is refused, so that no script in a notebook can use its
reader's address. Every refusal is audited with its reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import hdrs

from proxy.config.settings import Api, Settings
from proxy.errors import AccessDenied
from proxy.identity.sigv4 import AccessKey, SignatureRefused, Signatures, SignedRequest, prepare
from proxy.policy.context import Principal
from proxy.server.page_request import PageRequest
from proxy.wire.aws_json import DESCRIBE, LIST
from proxy.wire.browsers import is_of_page

_QUESTIONS: Final = frozenset({DESCRIBE, LIST})
_ID_CHARACTERS: Final = 32


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed; `user` is the policy's aws:username, None where nobody did. `instances`: the only ones, if any."""

    user: str | None = None
    instances: frozenset[str] | None = None

    @property
    def principal(self) -> Principal | None:
        """Whom the policy is asked about."""
        return None if self.user is None else Principal(self.user)

    def reaches(self, instance: str) -> bool:
        return self.instances is None or instance in self.instances


ANYBODY: Final = Signer()

Identify = Callable[[PageRequest, str, bytes], Awaitable[Signer]]
"""Who makes a call of an operation with that body. Raises AwsFault, after it was audited."""


def access_keys(api: Api) -> dict[str, AccessKey]:
    """The configuration's keys as the verifier takes them."""
    return {
        key.id: AccessKey(
            key.id, key.secret, key.user, None if key.instances is None else frozenset(key.instances)
        )
        for key in api.keys.values()
    }


def _is_id(text: str) -> bool:
    """Whether it looks like an access key's id, as AWS and people make them; not like a secret in its place."""
    return len(text) <= _ID_CHARACTERS and text.isascii() and text.isupper() and text.isalnum()


class Signers:
    """Implements `Identify`. `settings` are those of now."""

    def __init__(self, signatures: Signatures, *, settings: Callable[[], Settings]) -> None:
        self._signatures = signatures
        self._settings = settings
        self._is_prepared = False

    async def __call__(self, request: PageRequest, operation: str, body: bytes) -> Signer:
        try:
            return await self._identify(request, operation, body)
        except SignatureRefused as error:
            is_shown = error.key_id in self._settings().api.keys or _is_id(error.key_id)
            named = f" (access key {error.key_id})" if is_shown else ""
            request.gateway.refuse(
                request.inbound,
                request.caller,
                AccessDenied(),
                reason=f"denied: {error.reason}{named}",
                action=f"sagemaker:{operation}",
            )
            raise

    async def _identify(self, request: PageRequest, operation: str, body: bytes) -> Signer:
        headers = request.inbound.headers
        signed = headers.getall(hdrs.AUTHORIZATION, [])
        if not self._settings().api.is_signed and not any(self._signatures.knows(value) for value in signed):
            if is_of_page(headers):
                raise SignatureRefused(
                    "MissingAuthenticationTokenException",
                    "Missing Authentication Token",
                    reason="a page's request that is not signed",
                )
            return ANYBODY
        if not self._is_prepared:
            await asyncio.to_thread(prepare)
            self._is_prepared = True
        key = self._signatures.verify(
            SignedRequest(
                request.inbound.method,
                request.inbound.target,
                fields=tuple(headers.items()),
                body=body,
                source=request.caller.address or "",
            ),
            is_question=operation in _QUESTIONS,
        )
        return Signer(key.user, key.instances)
