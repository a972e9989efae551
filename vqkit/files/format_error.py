"""What is wrong with a file, before its name and the place in it are known."""

__all__ = ["DAMAGED", "NEWER", "FormatError"]

DAMAGED = "The file is damaged: fetch an intact copy or encode the media again."
NEWER = "The file was made by a newer vqkit: update vqkit to read it."


class FormatError(Exception):
    """Raised inside ``vqkit.files`` only; the reader turns it into a `TokenFileError`."""

    def __init__(self, what: str, fix: str = DAMAGED) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix
