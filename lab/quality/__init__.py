"""Fills compared with dense ones and with the truth."""
