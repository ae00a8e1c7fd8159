"""What every port driver raises for a user's mistake."""


class PortError(OSError):
    """One sentence for the user: what is wrong with this port's socket or endpoint, and what to do."""
