"""Runs modules that were written for Synapse, unmodified, out of Synapse's process.

It needs matrix-synapse in the module's environment, of the version that the server runs: modules take classes from it, and
Synapse's own Event, Requester and UserInfo are what they are given.
"""
