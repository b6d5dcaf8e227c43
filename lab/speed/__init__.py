"""Time and memory, by shapes of real size."""
