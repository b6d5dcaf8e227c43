"""Many pictures through a running ComfyUI, with a user's own workflow: `python -m lab.compare --help`.

`graph` prepares the workflow, `runs` drives the server and keeps what was done, `statistics` counts, `report` writes.
"""
