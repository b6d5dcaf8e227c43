"""Sentences with values in them, which the front end can word in another language."""

from __future__ import annotations

from typing import Any


class Said(str):
    """A template with its values put in: English to whoever takes it for a text.

    template: with `{}` for each of `values`, as `str.format` has it.
    """

    template: str
    values: tuple[Any, ...]

    def __new__(cls, template: str, *values: Any) -> Said:
        made = super().__new__(cls, template.format(*values))
        made.template, made.values = template, values
        return made

    def __getnewargs__(self) -> tuple[Any, ...]:  # copies are made of the parts, not of the text
        return self.template, *self.values


def in_parts(text: str) -> str | dict[str, Any]:
    """A text as the front end takes it: with its values apart, where there are some."""
    if not isinstance(text, Said):
        return text
    return {"text": text.template, "values": [in_parts(one) if isinstance(one, str) else one for one in text.values]}


def as_text(said: str | dict[str, Any]) -> str:
    """The English of what `in_parts` gave."""
    if isinstance(said, str):
        return said
    return Said(said["text"], *(as_text(one) if isinstance(one, dict) else one for one in said["values"]))
