"""Masked decode: a VAE's decoder run only around an edit, and the result put into the original.

`windows`         which windows of the latent cover the edit, and how they are blended into one picture
`window_decoder`  a decoder run on such a window, with what it takes from the whole picture
`narrow`          how the window shrinks from level to level to what later layers still see
`work`            whether windows cost less than a full decode
`tiles`           how it gets the whole picture's statistics from a few tiles
`composite`       the decoded picture put into the original, which stays as it is elsewhere
`colour`          the new colours matched to the original's around the edit
`shift`           the new picture moved back where it lies beside the original
`drift`           how far the decoded picture is from the original outside the edit
`resample`        any part of a picture at another size
`fit`             a canvas of another size for a picture, and the way back for an edit

Knows nothing of tokens; shares `errors`, and what an edit is (`mask.is_edited`), with the method.
"""
