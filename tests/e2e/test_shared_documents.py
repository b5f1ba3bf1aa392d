"""What pages say of shared documents, by the library that they speak with."""

from __future__ import annotations

from typing import Any

import pycrdt
import pytest

from proxy.lifecycle.use import is_change

pytestmark = pytest.mark.e2e


def test_the_openings_are_those_of_the_protocol_itself() -> None:
    """As pycrdt, which jupyter-collaboration speaks with, writes them."""
    document: pycrdt.Doc[Any] = pycrdt.Doc()
    awareness = pycrdt.Awareness(document)
    awareness.set_local_state({"cursors": []})
    text = document.get("source", type=pycrdt.Text)
    updates: list[bytes] = []
    document.observe(lambda event: updates.append(pycrdt.create_update_message(event.update)))
    text += "print(6*7)"
    [update] = updates
    assert is_change(update[:2])
    step_1 = pycrdt.create_sync_message(document)
    step_2 = pycrdt.handle_sync_message(pycrdt.create_sync_message(pycrdt.Doc())[1:], document)
    state = pycrdt.create_awareness_message(awareness.encode_awareness_update([document.client_id]))
    assert step_2 is not None
    assert not any(is_change(message[:2]) for message in (step_1, step_2, state))
