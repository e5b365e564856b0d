"""Reading MNIST: as packaged, as IDX files, as the hub's Parquet files; and what is refused."""

import gzip
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import InputError
from pipeline.experiments.image_classifier import digits

Images = dict[str, tuple[np.ndarray, np.ndarray]]


@pytest.fixture
def images() -> Images:
    """Split -> (N, 784) pixels and labels."""
    rng = np.random.default_rng(1)
    return {
        split: (rng.integers(0, 256, (count, digits.PIXELS), dtype=np.uint8), np.arange(count, dtype=np.uint8) % 10)
        for split, count in (("train", 20), ("test", 11))
    }


def write_idx(folder: Path, images: Images, *, compressed: bool) -> None:
    for split, (pixels, labels) in images.items():
        name = "train" if split == "train" else "t10k"
        header = b"".join(n.to_bytes(4, "big") for n in (digits.IDX_IMAGES, len(labels), 28, 28))
        files = {
            f"{name}-images-idx3-ubyte": header + pixels.tobytes(),
            f"{name}-labels-idx1-ubyte": digits.IDX_LABELS.to_bytes(4, "big")
            + len(labels).to_bytes(4, "big")
            + labels.tobytes(),
        }
        for file, content in files.items():
            (folder / (file + ".gz" * compressed)).write_bytes(gzip.compress(content) if compressed else content)


def write_parquet(folder: Path, images: Images) -> None:
    from PIL import Image

    (folder / "mnist").mkdir()
    for split, (pixels, labels) in images.items():
        rows = []
        for row in pixels:
            out = io.BytesIO()
            Image.fromarray(row.reshape(28, 28)).save(out, "PNG")
            rows.append({"bytes": out.getvalue(), "path": "0.png"})
        table = pa.table({"image": rows, "label": pa.array(labels, pa.int64())})
        pq.write_table(table, folder / "mnist" / f"{split}-00000-of-00001.parquet")


def read(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    return digits.pixels_of(table), table["label"].to_numpy()


@pytest.mark.parametrize("form", ["idx", "idx.gz", "parquet"])
def test_a_folder_gives_the_images_that_it_holds(tmp_path: Path, images: Images, form: str) -> None:
    if form == "parquet":
        write_parquet(tmp_path, images)
    else:
        write_idx(tmp_path, images, compressed=form.endswith("gz"))
    found = digits.from_folder(tmp_path)
    for split, table in (("train", found.train), ("test", found.test)):
        pixels, labels = read(table)
        np.testing.assert_array_equal(pixels, images[split][0])
        np.testing.assert_array_equal(labels, images[split][1])


def test_a_folder_without_images_or_with_damaged_ones_is_refused(tmp_path: Path, images: Images) -> None:
    with pytest.raises(InputError, match="holds neither IDX files of MNIST nor Parquet"):
        digits.from_folder(tmp_path)
    write_idx(tmp_path, images, compressed=False)
    file = tmp_path / "train-images-idx3-ubyte"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(InputError, match="is cut off"):
        digits.from_folder(tmp_path)
    file.write_bytes(b"\0\0\x08\x01" + whole[4:])
    with pytest.raises(InputError, match="is no IDX file of MNIST"):
        digits.from_folder(tmp_path)
    file.unlink()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(whole)[:-9])
    with pytest.raises(InputError, match="cannot read"):
        digits.from_folder(tmp_path)


def test_labels_beyond_nine_are_refused(tmp_path: Path, images: Images) -> None:
    images["test"][1][3] = 10
    write_idx(tmp_path, images, compressed=False)
    with pytest.raises(InputError, match="labels of MNIST are 0 to 9"):
        digits.from_folder(tmp_path)


def test_a_parquet_file_of_other_pictures_is_refused(tmp_path: Path) -> None:
    from PIL import Image

    out = io.BytesIO()
    Image.new("L", (32, 32)).save(out, "PNG")
    for split in ("train", "test"):
        table = pa.table({"image": [{"bytes": out.getvalue(), "path": ""}], "label": [1]})
        pq.write_table(table, tmp_path / f"{split}-0.parquet")
    with pytest.raises(InputError, match="an image of 32 × 32 pixels"):
        digits.from_folder(tmp_path)


def test_the_packaged_digits_are_split_by_class_and_no_image_is_in_both() -> None:
    found = digits.packaged(1000)
    (train, train_labels), (test, test_labels) = read(found.train), read(found.test)
    assert np.bincount(train_labels).tolist() == [400] * 10
    assert np.bincount(test_labels).tolist() == [100] * 10
    assert not {row.tobytes() for row in train} & {row.tobytes() for row in test}
    assert train.max() == 255
    again = digits.packaged(1000)
    assert again.test.equals(found.test)
    # An untrained eye: a 1 has less ink than a 0.
    assert test[test_labels == 1].mean() < 0.6 * test[test_labels == 0].mean()
