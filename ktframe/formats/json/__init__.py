"""JSON objects to typed columns and back: ``format`` is the way in, ``records`` decides what is right.

``batches`` reads whole batches with Arrow and may only be faster, never different. Nothing here asks a registry.
"""
