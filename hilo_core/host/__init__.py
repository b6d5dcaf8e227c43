"""The bridge to ComfyUI: the only code that touches the host's model classes.

`families`   which models are known, and how each lays out its tokens (one table row per family)
`positions`  true positions for the tokens of a strip
`known`      what is known before sampling: the clean latent, the mask, the plan
`layout`     positions and attention bias of a strip in the model's sequences
`compat`     what else may be on the model, and what is done about it
`run`        the state of one sampling run, and one model call as a strip
`patch`      puts it on a model through the host's own ModelPatcher
`report`     what a run did, measured
"""
