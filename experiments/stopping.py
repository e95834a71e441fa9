"""What ends a pass over data before its end."""


class ScoringStopped(Exception):  # noqa: N818  # no error: a signal asked for it
    """A signal asked for the end of a run while it was scored."""
