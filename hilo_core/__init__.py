"""HiLo-Token: token compression for masked generation on diffusion transformers.

Pure functions on tensors; nothing here knows ComfyUI (that is `comfy_bridge`) or imports more than torch, numpy and
scipy. Read in this order:

`grid`       pixels, latent and tokens, and the way between them
`mask`       from a user's mask to the edit tokens
`frequency`  how much detail a token carries
`cells`      which region a low-frequency token stands for
`plan`       the token sets put together: kept tokens, low-frequency tokens, and the mass of each
`strip`      a picture of chosen tokens only, and the way back
`bias`       the attention bias that keeps the softmax mass of what was dropped
`schedule`   which steps run dense
`cost`       what a plan saves
`presets`    settings with a name
`render`     the plan as a picture and a text
`likeness`   how far an edited picture is from another
`verdict`    what that means, in one sentence
`auto`       which preset to take after many of them

`decode` is a second subject: only what the edit needs through a VAE's decoder.

Method: HiLo-Token, arXiv 2606.13898. Mass-preserving bias: proportional attention of ToMe, arXiv 2210.09461.
"""

from .errors import HiLoError

__all__ = ["HiLoError"]
