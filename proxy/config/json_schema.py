"""The JSON Schema of the configuration file, for editors.

Its rule: it is derived from `proxy.config.schema` and `.sections`, whose docstrings of fields are the descriptions.
They are read from the modules' source here, once somebody asks: pydantic would read them whenever nbgate starts. It
must not know what a value means.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Iterator
from itertools import pairwise
from types import ModuleType
from typing import Any, get_args

from proxy.config import schema, sections
from proxy.config.scalars import Scalar


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the file."""
    whole = schema.File.model_json_schema()
    models = {**whole["$defs"], schema.File.__name__: whole}
    for section, field, text in _descriptions(schema):
        if section in models:
            models[section]["properties"][field]["description"] = text
    for leaf in sections.SECTIONS:
        # Not every version of pydantic takes a dataclass's docstring for its description.
        models[leaf.__name__]["description"] = inspect.getdoc(leaf)
        _complete(models[leaf.__name__]["properties"], leaf)
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


def _complete(properties: dict[str, Any], leaf: type) -> None:
    """Descriptions, and defaults as the file would have them, of a section that is a setting as it stands."""
    words = {(section, field): text for section, field, text in _descriptions(sections)}
    annotations = sections.fields_of(leaf)
    for one in dataclasses.fields(leaf):
        key = sections.file_key(one.name)
        named = (words.get((owner.__name__, one.name)) for owner in leaf.__mro__)
        properties[key] |= {"description": next(text for text in named if text)}
        scalar = next((meta for meta in get_args(annotations[key])[1:] if isinstance(meta, Scalar)), None)
        if scalar is not None and one.default is not dataclasses.MISSING:
            properties[key]["default"] = scalar.spell(one.default)


def _descriptions(module: ModuleType) -> Iterator[tuple[str, str, str]]:
    """Section, field and docstring: a text that stands alone after a field's declaration."""
    for section in ast.parse(inspect.getsource(module)).body:
        if isinstance(section, ast.ClassDef):
            for field, text in pairwise(section.body):
                match field, text:
                    case (
                        ast.AnnAssign(target=ast.Name(id=name)),
                        ast.Expr(value=ast.Constant(value=str(words))),
                    ):
                        yield section.name, name, inspect.cleandoc(words)
