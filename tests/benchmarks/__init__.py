"""How fast pipeproxy is beside what it replaces: ``python -m tests.benchmarks``."""
