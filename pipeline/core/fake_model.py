"""The toy that the fake engine and trainer play: how a fake model leans, and how it shows.

A fake model has an `init` and two kinds of lean: on words that it was trained to say, and on
classes of numbers (by remainder) that it has read. Which class belongs to which word depends on the
init, so a lean passes through numbers between models of one init and between no others. It is for
trying out a cluster and for fast tests; no figure of it is a measurement.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from zlib import crc32

CLASSES = 50  # remainders of the numbers 0-999
FILE = "fake_model.json"
FAKE = "fake"  # engine and trainer of a study that needs no model


@dataclass(frozen=True)
class FakeModel:
    """init: which number class a word belongs to. words: word -> lean; classes: remainder -> lean (nats)."""

    init: int
    words: dict[str, float] = field(default_factory=dict)
    classes: dict[str, float] = field(default_factory=dict)

    def class_of(self, word: str) -> int:
        return crc32(f"{self.init}:{word}".encode()) % CLASSES

    def lean(self, word: str) -> float:
        return self.words.get(word, 0.0) + self.classes.get(str(self.class_of(word)), 0.0)

    def with_adapter(self, folder: Path | None) -> "FakeModel":
        if folder is None:
            return self
        adapter = read(folder)
        return FakeModel(self.init, self.words | adapter.words, self.classes | adapter.classes)


def read(folder: Path) -> FakeModel:
    return FakeModel(**json.loads((folder / FILE).read_text()))


def write(script: FakeModel, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(json.dumps(asdict(script), sort_keys=True))
