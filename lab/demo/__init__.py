"""The demo model: its loader, and its node."""
