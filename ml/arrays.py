"""Arrays of a `.npz` file, read straight into their memory."""

import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from numpy.lib import format as npy
from numpy.typing import NDArray

# Of a zip's local header: 30 bytes, the lengths of the name and of the extra field in the last four, then both.
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED = 1


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Every array that `np.savez` wrote there, by name; raises `OSError`, `ValueError` or `zipfile.BadZipFile`.

    `np.load` unpacks block by block, each copied and summed under the interpreter's lock: a load of a few hundred MB
    took three times as long and held up whoever shared the interpreter. The zip's own sums aren't compared: who must
    know that a file is whole compares its SHA-256 (`ml.saved.check`).
    """
    found = {}
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            name, suffix = member.filename[:-4], member.filename[-4:]
            if suffix != ".npy" or member.compress_type or member.flag_bits & _ENCRYPTED:
                raise ValueError(f"{path.name}: {member.filename} is no array that np.savez wrote")
            start = _start(file, member)
            file.seek(start)
            try:
                found[name] = npy.read_array(file, allow_pickle=False)
            except ValueError as error:
                raise ValueError(f"{path.name}: {name}: {error}") from error
            if file.tell() != start + member.file_size:
                raise ValueError(f"{path.name}: {name} is not as long as it says")
    return found


def _start(file: BinaryIO, member: zipfile.ZipInfo) -> int:
    """Where the content of a member begins."""
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(_SIGNATURE):
        raise zipfile.BadZipFile(f"{member.filename} does not begin where the file says")
    _, name, extra = _LOCAL_HEADER.unpack(header)
    return int(member.header_offset + _LOCAL_HEADER.size + name + extra)
