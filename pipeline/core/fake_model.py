"""The toy model behind the fake engine and trainer.

A fake model has an `init` and two kinds of preference ("lean"): for words that it was trained to say,
and for classes of numbers (by remainder) that it has read. The init decides which class belongs to
which word, so a lean passes through numbers only between models of the same init. It serves to try
out a cluster and to run fast tests; none of its results is a measurement.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from zlib import crc32

CLASSES = 50  # remainders of the numbers 0-999
FILE = "fake_model.json"
FAKE = "fake"  # name of the engine and the trainer that need no model


@dataclass(frozen=True)
class FakeModel:
    """init: decides the number class of each word. words: word -> lean; classes: remainder -> lean (nats)."""

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


def write(model: FakeModel, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(json.dumps(asdict(model), sort_keys=True))
