"""Sentences with values: English as a text, in parts for the front end."""

from __future__ import annotations

import copy
import pickle

from hilo_core.words import Said, as_text, in_parts


def test_a_text_and_its_parts():
    inner = Said("{} px down", 2)
    said = Said("The new picture lies {}; {} {{braces}}", inner, "{x}")
    assert said == "The new picture lies 2 px down; {x} {braces}" and isinstance(said, str)
    parts = {"text": "The new picture lies {}; {} {{braces}}", "values": [{"text": "{} px down", "values": [2]}, "{x}"]}
    assert in_parts(said) == parts
    assert in_parts("plain {text}") == "plain {text}" == as_text("plain {text}")
    assert as_text(parts) == said


def test_copies_keep_the_parts():
    """A report is copied on its way."""
    said = Said("{} of {}", "{0}", 3)
    for again in (copy.deepcopy(said), pickle.loads(pickle.dumps(said))):
        assert again == said and in_parts(again) == in_parts(said)
