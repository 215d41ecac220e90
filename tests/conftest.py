"""Settings of all property tests."""

from hypothesis import settings

# No test depends on the time that it takes, because other programs may use the machine, too.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")
