"""What is promised, under fire: run by pytest, and as a table by ``python -m tests.chaos``."""
