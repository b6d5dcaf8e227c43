"""The example workflows, a function each."""
