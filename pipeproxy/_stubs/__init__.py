"""How stubs are written; the door to it is `pipeproxy.stubs`.

What a proxy shows is known from the class itself (`_spec`); how it is typed stands in the source of
the class, in the words of whoever wrote it:

    _file          a stub, from its first line to its last
    _classes       one Protocol for one class
    _functions     the signatures of its methods and properties
    _lines         how they are written down
    _declared      where in the sources a member is declared, in which class of the MRO
    _guess         the type of an attribute that has no annotation
    _types         annotations, moved into the stub, with proxies where proxies travel
    _meaning       what a name in an annotation stands for
    _parameters    type variables, whichever way they were written
    _names         what the stub imports
    _sources       modules as type checkers see them: where a name comes from
"""
