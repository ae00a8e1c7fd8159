"""A real guest for tests: image.py builds it, guest.py boots it and talks to it, init is all that runs in it."""
