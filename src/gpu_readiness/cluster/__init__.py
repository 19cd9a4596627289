"""Gathering from a live cluster: what is read there ends up as a snapshot, and that is what is judged.

Nothing here judges. Whatever could not be read is recorded with its reason, beside where it would have been.
"""
