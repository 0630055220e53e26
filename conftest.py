"""What holds for every test."""

from importlib.util import find_spec

if find_spec("hypothesis"):  # the environment of training has none
    from hypothesis import settings

    # How long an example takes says nothing beside other work. (In a fresh clone it first builds tables.)
    settings.register_profile("twinloop", deadline=None)
    settings.load_profile("twinloop")
