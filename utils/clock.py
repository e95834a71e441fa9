"""The time of day, taken from this one place, so that another clock can stand in for it."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the time in UTC. It may go backwards; durations come from ``time.perf_counter``."""
    return datetime.now(UTC)
