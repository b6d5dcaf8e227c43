"""Pictures, masks and drawn scenes: what the lab trains and measures on."""
