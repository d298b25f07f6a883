"""Owns bytes that are made on the fly and known by their hash: no part of them can be lost, doubled or moved
unseen."""

import functools
import hashlib
import random

BLOCK = 64 * 1024

_FILLING = random.Random(7).randbytes(BLOCK - 8)


def blocks(total):
    """So many bytes in blocks, each of which begins with its number."""
    for number in range(total // BLOCK):
        yield number.to_bytes(8, "big") + _FILLING
    rest = total % BLOCK
    if rest:
        yield ((total // BLOCK).to_bytes(8, "big") + _FILLING)[:rest]


def whole(total):
    return b"".join(blocks(total))


@functools.cache
def digest(total):
    """The hash of so many bytes."""
    sha = hashlib.sha256()
    for block in blocks(total):
        sha.update(block)
    return sha.hexdigest()
