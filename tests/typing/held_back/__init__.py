"""Programs without an error: whatever the mypy plugin reports of them is a false alarm.

They were written before the plugin was, and are not to be changed to suit it.
"""
