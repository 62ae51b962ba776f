"""Benchmarks on a GPU: ``bench/gpu.sh`` builds, tests, sanitizes and measures, and says what it could not do."""
