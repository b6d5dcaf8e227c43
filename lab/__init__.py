"""Where the evidence is made: training of the small model, benchmarks, evaluation. Not shipped to users."""
