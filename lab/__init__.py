"""Where the evidence is made: data, training, judges, quality, speed. Not shipped to users."""

import tools  # noqa: F401  # gives the pack its name, hilo_token
