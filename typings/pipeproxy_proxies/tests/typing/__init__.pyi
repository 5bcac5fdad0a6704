# Made by `python -m pipeproxy stubs`: change the class instead, and make it again.
