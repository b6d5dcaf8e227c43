"""Stand-ins for other people's nodes: what their public source does to a model, written anew and kept small.

Each is a class with `put(model) -> model`: a clone of a ModelPatcher with the neighbour on it, as its node would give
it. One instance serves one model; `calls` says for each model call how many image tokens it saw and whether the
neighbour computed it or took it from its cache. `caches` and `outputs` keep something from step to step, `blocks`
replace a part of a block or of its attention, `modules` change what the model is, `samplers` call it in another way;
`guidance` are the host's own; `photo` makes masked edits for the demo model.
"""
