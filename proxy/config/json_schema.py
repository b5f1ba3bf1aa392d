"""The JSON Schema of the configuration file, for editors.

Its rule: it is derived from `proxy.config.schema`, whose docstrings of fields are the descriptions. They are read
from the module's source here, once somebody asks: pydantic would read them whenever nbgate starts. It must not know
what a value means.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from proxy.config import schema


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the file."""
    whole = schema.File.model_json_schema()
    sections = {**whole["$defs"], schema.File.__name__: whole}
    for section, field, text in _descriptions():
        sections[section]["properties"][field]["description"] = text
    for key, setting in whole["properties"].items():
        if key in schema.REQUIRED:
            # A `File` can do without them, a file cannot.
            setting["anyOf"].remove({"type": "null"})
            del setting["default"]
            if len(setting["anyOf"]) == 1:
                setting |= setting.pop("anyOf")[0]
        for one in (setting, *setting.get("anyOf", ())):
            # pydantic's own schema lets names pass that do not match the pattern.
            if "patternProperties" in one:
                one["additionalProperties"] = False
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole}


def _descriptions() -> Iterator[tuple[str, str, str]]:
    """Section, field and docstring: a text that stands alone after a field's declaration."""
    for section in ast.parse(inspect.getsource(schema)).body:
        if isinstance(section, ast.ClassDef):
            for field, text in pairwise(section.body):
                match field, text:
                    case (
                        ast.AnnAssign(target=ast.Name(id=name)),
                        ast.Expr(value=ast.Constant(value=str(words))),
                    ) if not section.decorator_list:
                        yield section.name, name, inspect.cleandoc(words)
