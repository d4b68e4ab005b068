"""Atomic writing of files: nothing on disk is ever half written or lost."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

#: How names of files end that are not written to their end yet; they begin with a dot.
PARTIAL = '.part'


class WriteError(OSError):
    """A file that cannot be written; what was there before is still there."""

    def __init__(self, path: str | os.PathLike, error: OSError) -> None:
        """Message and number of an error of the operating system, in the words of this package.

        Args:
            path: The file.
            error: Why it cannot be written.
        """
        super().__init__(
            f'{os.fspath(path)}: cannot be written ({error.strerror or error}); what was finished before is as it was'
        )
        self.errno = error.errno


def write_atomically(path: str | os.PathLike, data: str | bytes) -> Path:
    """Write a file under a temporary name in the same folder and rename it: the old file or all of the new.

    Args:
        path: The file; folders are made.
        data: All of its content; text is written as UTF-8.

    Returns:
        The path.

    Raises:
        WriteError: No space left, no permission, and the like.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.', suffix=PARTIAL)
        with os.fdopen(handle, 'wb') as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise WriteError(path, error) from error
        raise
    return path
