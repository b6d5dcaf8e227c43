"""HiLo-Token: token compression for masked generation on diffusion transformers.

Pure functions on tensors; nothing here imports ComfyUI (that is `hilo_core.host`). Read in this order:

`grid`       pixels, latent and tokens, and the way between them
`mask`       from a user's mask to the edit tokens
`frequency`  how much detail a token carries
`cells`      which region a low-frequency token stands for
`plan`       the token sets put together: kept tokens, low-frequency tokens, and the mass of each
`strip`      a picture of chosen tokens only, and the way back
`bias`       the attention bias that keeps the softmax mass of what was dropped
`decode`     windows around the edit, for the VAE
`decoder`    a VAE's decoder on such a window, with what it takes from the whole picture
`tiles`      how it gets the whole picture's statistics from a few tiles
`composite`  the decoded windows put into the original, which stays as it is elsewhere
`colour`     the new colours matched to the original's around the edit
`drift`      how far the decoded picture is from the original outside the edit
`schedule`   which steps run dense
`cost`       what a plan saves
`presets`    settings with a name
`render`     the plan as a picture and a text

Method: HiLo-Token, arXiv 2606.13898. Mass-preserving bias: proportional attention of ToMe, arXiv 2210.09461.
"""

from .errors import HiLoError

__all__ = ["HiLoError"]
