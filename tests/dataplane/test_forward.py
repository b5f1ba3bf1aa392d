"""HTTP through the gateway, over real sockets."""

from __future__ import annotations

import json

from gateways import Rig, body_of, status_of


async def test_a_request_reaches_the_notebook_and_its_answer_the_caller(rig: Rig) -> None:
    answer = await rig.get("/hello?x=1")
    assert status_of(answer) == 200
    seen = json.loads(body_of(answer))
    assert seen["target"] == "/hello?x=1"
