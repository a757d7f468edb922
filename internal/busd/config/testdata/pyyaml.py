"""Prints what PyYAML makes of every plain scalar of one to five characters of ALPHABET, as a digest for each beginning.

Usage: python pyyaml.py > pyyaml.txt. It needs PyYAML 6.0.4. Scalars that end in a colon, and a lone dash, are left out:
YAML takes them for something else than scalars. Each line has a beginning of two characters (or a whole scalar of one) and
the first half of the SHA-256 of a line for each scalar that is not text: the scalar, a tab, and its value; floats as the hex
digits of their IEEE 754 bits. The order of scalars is that of the alphabet, the shorter first.
"""
import hashlib
import itertools
import multiprocessing
import struct
import sys

import yaml

ALPHABET = "0123456789eExobfn._:+-"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # One resolver and one constructor; the scanner in C is faster.
BATCH = 2000


def scalars(begin):
    """Yields the plain scalars that begin so."""
    for length in range(0, 4) if len(begin) == 2 else [0]:
        for rest in itertools.product(ALPHABET, repeat=length):
            text = begin + "".join(rest)
            if not text.endswith(":") and text != "-":
                yield text


def load(texts):
    """Loads scalars, together if that goes well; one that is an error to PyYAML is an Exception."""
    try:
        return yaml.load("".join(f"- {t}\n" for t in texts), LOADER)
    except (ValueError, IndexError, yaml.YAMLError) as error:
        if len(texts) == 1:
            return [error]
        half = len(texts) // 2
        return load(texts[:half]) + load(texts[half:])


def spell(value):
    if isinstance(value, Exception):
        return "error"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "nan" if value != value else "f" + struct.pack(">d", value).hex()
    return str(value)


def digest(begin):
    out = hashlib.sha256()
    texts = list(scalars(begin))
    for i in range(0, len(texts), BATCH):
        batch = texts[i : i + BATCH]
        for text, value in zip(batch, load(batch), strict=True):
            if not isinstance(value, str) or value != text:
                out.update(f"{text}\t{spell(value)}\n".encode())
    return f"{begin} {out.hexdigest()[:32]}"


if __name__ == "__main__":
    if yaml.__version__ != "6.0.4":
        sys.exit(f"this is PyYAML {yaml.__version__}, not 6.0.4")
    begins = list(ALPHABET) + ["".join(p) for p in itertools.product(ALPHABET, repeat=2)]
    with multiprocessing.Pool() as pool:
        print("\n".join(pool.map(digest, begins, chunksize=4)))
