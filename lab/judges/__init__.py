"""Judges: models that did not choose the presets, the rule that a preset must meet, and the script that chooses.

Read in this order: `rule` (what must hold), `models`, `data`, `train`, `settings`, `schemes`, `evaluate`, `summary`,
`choose`, `report`.
"""
