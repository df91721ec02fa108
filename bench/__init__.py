"""Side-by-side timings against peers; run from the repository root as `python -m bench.NAME`."""
