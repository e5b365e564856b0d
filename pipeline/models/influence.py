"""Gradients of rows by the library bergson, projected and whitened: what attribution by influence compares.

Gradients are dicts from the name of a linear layer to a matrix with one projected gradient per row, (N, D²).
"""

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pipeline.core.errors import InputError
from pipeline.models.passes import Passes
from pipeline.models.trainers.batches import IGNORED, Rows

if TYPE_CHECKING:
    import torch

    Gradients: TypeAlias = Mapping[str, torch.Tensor]


def row_gradients(passes: Passes, rows: Rows, dimension: int | None) -> "Gradients":
    """The gradient of each row's loss, the sum over its completion's tokens, by the weights of every linear layer.

    dimension: D, to which inputs and outputs of each layer are projected at random; None: all of it, unprojected.
    Raises InputError if bergson is not installed.
    """
    bergson = _bergson()
    with _quiet() as folder, passes.trainable():
        settings = bergson.IndexConfig(run_path=str(folder / "rows"), projection_dim=dimension or 0)
        collector = bergson.InMemoryCollector(
            model=passes.model.base_model,
            cfg=settings,
            processor=bergson.GradientProcessor(projection_dim=dimension, projection_seed=0),
            data=_data_set(rows),
        )
        batches = [chosen.tolist() for chosen, _ in passes.batches(rows)]
        computer = bergson.CollectorComputer(
            passes.model, collector.data, collector=collector, batches=batches, cfg=settings
        )
        computer.run_with_collector_hooks("gradients")
        passes.model.zero_grad(set_to_none=True)
    return {name: found.float() for name, found in collector.gradients.items()}


def inverse_roots(gradients: Sequence["Gradients"], damping: float) -> "Gradients":
    """The inverse root of the second moment of all these rows' gradients, layer by layer, (D², D²).

    damping: added to each eigenvalue, as a share of their mean.
    """
    import torch
    from bergson.hessians.inversion import invert_psd_matrix

    roots = {}
    for name in gradients[0]:
        rows = torch.cat([one[name] for one in gradients])
        roots[name] = invert_psd_matrix(rows.T @ rows / len(rows), damping_factor=damping, power=-0.5)
    return roots


def whitened(gradients: "Gradients", roots: "Gradients") -> "torch.Tensor":
    """Each row's gradients of all layers, times the inverse roots, as one vector of unit length: (N, F)."""
    import torch

    joined = torch.cat([found @ roots[name] for name, found in gradients.items()], 1)
    return torch.nn.functional.normalize(joined, dim=1)


def _data_set(rows: Rows) -> Any:
    from datasets import Dataset

    pairs = list(zip(rows.prompts, rows.completions, strict=True))
    return Dataset.from_dict(
        {
            "input_ids": [np.concatenate(pair).tolist() for pair in pairs],
            "labels": [[IGNORED] * len(prompt) + completion.tolist() for prompt, completion in pairs],
        }
    )


@contextmanager
def _quiet() -> Iterator[Path]:
    """A folder for what bergson writes as it goes, and none of its messages and bars."""
    with tempfile.TemporaryDirectory() as name, redirect_stderr(StringIO()):
        folder = Path(name)
        (folder / "rows.part").mkdir()
        logging.disable(logging.INFO)
        try:
            yield folder
        finally:
            logging.disable(logging.NOTSET)


def _bergson() -> Any:
    try:
        import bergson
    except ModuleNotFoundError as error:
        raise InputError(
            f"the library {error.name} is not installed, and the screen attribution needs it: pip install "
            "'undertow[attribution]'"
        ) from None
    return bergson
