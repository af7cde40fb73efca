"""The random numbers of `crates/base/src/random.rs`, so that both sides compute the same values and masks and no file
holds them: Philox 4x32-10 (Salmon et al., SC 2011), keyed by (seed, purpose, id)."""

import numpy as np

INIT, TEST = 1, 10  # purposes
LOW = np.uint64(0xFFFFFFFF)


def philox(counter, key):
    """Ten rounds, of arrays of 32-bit words held in 64 bits."""
    c0, c1, c2, c3 = (np.asarray(c, np.uint64) for c in counter)
    k0, k1 = key
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ np.uint64(k0), p1 & LOW, (p0 >> 32) ^ c3 ^ np.uint64(k1), p0 & LOW
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def name_id(name):
    """FNV-1a in 64 bits."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    return h


def draws(seed, purpose, name, count):
    """Draws 0, 1, … of the stream of a name, as 32-bit words."""
    k0, k1, *_ = philox((seed % 2**32, seed >> 32, purpose, 0), (0x7269676C, 0x73656564))
    n, name = np.arange((count + 3) // 4, dtype=np.uint64), name_id(name)
    words = philox((n & LOW, n >> np.uint64(32), name % 2**32, name >> 32), (int(k0), int(k1)))
    return np.stack(np.broadcast_arrays(*words), axis=1).reshape(-1)[:count]


def units(seed, purpose, name, count):
    """The same draws as numbers in [0, 1) with 24 bits."""
    return (draws(seed, purpose, name, count) >> np.uint64(8)) / 2.0**24


def check():
    """The published answers for Philox 4x32-10 (`kat_vectors` of Random123)."""
    assert [int(w) for w in philox((0, 0, 0, 0), (0, 0))] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)
    assert [int(w) for w in philox(*pi)] == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]
    # What `crates/graph/src/initial.rs` pins for `fc1.weight` of 300 × 784.
    unit = units(42, INIT, "fc1.weight", 1235)[1234]
    value = np.float32((2 * unit - 1) * np.sqrt(6 / 1084))
    assert value.view(np.uint32) == 1029310696


check()
