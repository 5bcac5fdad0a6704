"""From a class to its spec: what of its objects may be reached, and how each call is treated.

_spec                       the spec, a frozen record
_survey, _members           what the class has; which names of that are ever reachable
_options, _marks            what users say of their classes, and of single members
_stdlib                     what is said of classes of the standard library
_batching                   methods that run once for many calls
"""
