"""`python -m mrsearch.cli`."""

from mrsearch.cli import main

main()
