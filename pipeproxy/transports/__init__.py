"""Transports carry bytes between two processes: the pipe is the one that everything uses."""
