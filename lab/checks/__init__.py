"""What a test suite is too short for: mutation, long runs, several devices."""
