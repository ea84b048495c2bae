"""Fields of the files that people write by hand: unknown ones and booleans as numbers are mistakes, not values.

The text below a field is what it means, in the schema and the reference made of it; its unit is in brackets. A field
that takes a number or a text has examples.

Python counts True as 1, and so does pydantic: `target_fps: true` would build for one image per second. Needs pydantic,
so no deploy folder has this module.
"""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from contract.files import LONGEST_TEXT


class Fields(BaseModel):
    """A section of such a file."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, str_max_length=LONGEST_TEXT, use_attribute_docstrings=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        if (found := _boolean_in(value)) is None:  # first, as it takes the least time
            return value
        kinds = _kinds(cls.model_fields[str(info.field_name)].annotation)
        if kinds & {int, float} and bool not in kinds:
            raise ValueError(f"found {found}, expected a number")
        return value


def _kinds(annotation: Any) -> set[type]:
    """Return every type that an annotation mentions."""
    if isinstance(annotation, type) and not get_args(annotation):
        return {annotation}
    return set[type]().union(*map(_kinds, get_args(annotation)))


def _boolean_in(value: object) -> bool | None:
    """Return the first boolean of a value, or of what a list or the values of a table hold."""
    if isinstance(value, bool):
        return value
    if isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            if (found := _boolean_in(one)) is not None:
                return found
    return None
