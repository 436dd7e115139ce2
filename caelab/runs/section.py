"""The sections that configs and study files are made of."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Section(BaseModel):
    """A part of a config; it is frozen once it is checked.

    A key of ``only_where_set`` stands in the plain values only where it differs from its default, so that configs that
    were made before there was such a key keep their hashes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    only_where_set: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _without_what_is_not_set(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = plain(self)
        for name in self.only_where_set:
            if getattr(self, name) == type(self).model_fields[name].get_default(call_default_factory=True):
                found.pop(name, None)
        return found
