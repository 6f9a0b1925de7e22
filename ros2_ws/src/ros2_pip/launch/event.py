"""`Event`: something that happened and that event handlers may act upon."""


class Event:
    """Base of all events."""

    name = "launch.Event"
