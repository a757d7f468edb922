"""python -m modulebus.synapse is the command modulebus-synapse-module."""

from .program import main

main()
