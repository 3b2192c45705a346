"""`python -m nap` is the command `nap`."""

from nap.cli import main

main()
