"""The bridge between Synapse and a modulebus: a Synapse module that stands for all modules of the bus."""

from modulebus_synapse.bridge import ModuleBus

__all__ = ["ModuleBus"]
