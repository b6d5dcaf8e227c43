"""Training of the demo model: its autoencoder, its transformer, and its adaption to strips."""
