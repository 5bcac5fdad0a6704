"""Whose a call is, through all processes that it goes through, and what it may enter.

_activities                 chains of calls; what this thread does at the moment
_context                    how the chain of a call travels with it
_sections                   the exclusive right to an object
_deadlocks                  circles of chains that wait for one another
_residence                  objects that are bound to the thread that serves
"""
