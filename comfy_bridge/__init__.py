"""The bridge to ComfyUI: the only code that touches the host's model classes. It builds on `hilo_core` alone.

Read in this order:

`families`   which models are known: one table row each; `family` says what a row holds, `uncompressed` which are not
`patch`      puts HiLo-Token on a model through the host's own ModelPatcher
`source`     the clean picture of a run, and what of it must not change
`planning`   the plan of a run
`known`      what is known of a model: its comparisons with dense
`auto`       the preset of a run that chooses it itself
`run`        the state of one sampling run, and one model call as a strip
`codec`      a call's tensors as a strip, and back
`probe`      how a model lays out its tokens, found by trying it on a tiny picture
`layout`     positions and attention bias of a strip in the model's sequences
`positions`  stands in for the model's position embedder: records what it is asked, answers for the strip
`masked`     the bias into attention modules that take a mask and no override
`attention`  the bias into the model's attention, whichever kernel runs it
`refuse`     what a model call must not have
`memory`     what a strip needs of the GPU's memory
`memo`       what a run reuses of the one before
`graph`      one compressed call as a CUDA graph; `graph_store`: when and how long; `graph_rules`: which never
`weights`    whether a model's weights still lie where a graph reads them
`neighbours` what other nodes do within a model call, found out by looking
`features`   what else may be on a model, as one table
`run_report` what a run did, counted and timed
`gain`       what it saved, in seconds
`side_by_side` the same edit dense and with several presets, on the same noise
"""
