"""The benchmarks: `python -m bench --help`, `make bench`. docs/benchmarks.md says how the figures come about."""
