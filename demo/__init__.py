"""The demo: a small model and its VAE that ship with the pack, so that the first template runs in an empty ComfyUI."""
