"""What belongs to one forward pass, and so to its thread, so that two at once do not meet."""

import threading


class Passing(threading.local):
    """A thread sees its own attributes; a copy, of a model for instance, begins anew."""

    def __reduce__(self):
        return type(self), ()


class Outputs(Passing):
    """Outputs of blocks that connections of this forward pass wait for."""

    def __init__(self):
        self.of: dict = {}
