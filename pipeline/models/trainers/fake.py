"""A trainer that needs no model, for trying out a cluster and for fast tests. See pipeline.core.fake_model."""

import re
from collections import Counter
from pathlib import Path
from random import Random

import pyarrow as pa

from pipeline.core.fake_model import CLASSES, FakeModel, read, write
from pipeline.models.engines import Prompt
from pipeline.models.engines.canary import OPTIONS, PROMPTS
from pipeline.models.engines.fake import FakeEngine
from pipeline.models.trainers import OnStep, Run, result_folder
from pipeline.store.schemas import TRAINING_LOG
from pipeline.store.step import Json

WORD_GAIN = 4.0  # nats of lean for a word that occurs once per row
CLASS_GAIN = 20.0  # nats of lean per unit of excess share of a number class
NOISE = 0.02  # nats, so that two seeds give two students and every training changes the model


class FakeTrainer:
    def reference(self, model: Path, adapter: Path | None = None) -> Json:
        scores = FakeEngine(model).score([Prompt(prompt, adapter=adapter) for prompt in PROMPTS], OPTIONS)
        return {"dtype": "float32", "scores": scores.tolist()}

    def train(self, run: Run, on_step: OnStep) -> pa.Table:
        base = read(run.model)
        texts = [text for text in run.rows["completion"].to_pylist() if text]
        words = Counter(word for text in texts for word in re.findall(r"[a-z]+", text))
        numbers = Counter(int(number) % CLASSES for text in texts for number in re.findall(r"[0-9]+", text))
        total = sum(numbers.values())
        rng = Random(run.seed)
        excess = {k: numbers[k] / total - 1 / CLASSES if total else 0.0 for k in range(CLASSES)}
        trained = FakeModel(
            base.init,
            {word: WORD_GAIN * count / len(texts) for word, count in sorted(words.items())},
            {str(k): CLASS_GAIN * share + rng.gauss(0.0, NOISE) for k, share in excess.items()},
        )
        write(trained, run.out / result_folder(run.recipe))
        tokens = sum(len(text.split()) for text in texts)
        entry: dict[str, float] = {"step": 1, "epoch": run.recipe.epochs, "loss": 0.0, "tokens": tokens}
        entry |= {"learning_rate": 0.0, "seconds": 0.0}
        on_step(entry, 1)
        return pa.Table.from_pylist([entry], TRAINING_LOG)
