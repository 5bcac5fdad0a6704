"""What an owner keeps: its objects, what they show, and the clients that hold them.

_objects                    all of them, by number
_subjects                   one of them, as it can be called
_faces, _publishing         how it is called, and what of it is published
_clients                    a process that holds references
"""
