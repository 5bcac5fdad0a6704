"""What mypy does with proxies; the door to it is `pipeproxy.mypy_plugin`.

_links         which class has which generated type: found by the files of the stubs
_sending       what is passed to proxies and certainly cannot be pickled
_verdicts      types of which no value can be
_travelling    classes whose objects travel, whatever is in them: by reference, or in their way
"""
