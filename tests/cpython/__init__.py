"""CPython's own tests, from the `test` package of the interpreter that runs ours, on proxies."""
