"""Benchmarks against torch: ``make bench`` prints one table, ``pytest bench`` times case by case."""
