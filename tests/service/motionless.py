"""A driver that animates nothing."""


class Motionless:
    """A driver that gives no keyframe."""

    def __init__(self, sample_rate, seed):
        pass

    def feed(self, pcm):
        return []

    def finish(self):
        return []
