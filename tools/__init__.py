"""Set-up and helpers for developers; not shipped to users."""
