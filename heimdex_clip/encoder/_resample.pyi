import numpy as np
from numpy.typing import NDArray

def variants() -> list[str]: ...
def resize_crop(
    source: NDArray[np.uint8],
    out: NDArray[np.uint8],
    resized_width: int,
    resized_height: int,
    left: int,
    top: int,
    variant: str,
    /,
) -> None: ...
def libjpeg(path: str, /) -> object: ...
def jpeg_resize_crop(
    libjpeg: object,
    data: bytes,
    width: int,
    height: int,
    out: NDArray[np.uint8],
    resized_width: int,
    resized_height: int,
    left: int,
    top: int,
    variant: str,
    /,
) -> bool: ...
