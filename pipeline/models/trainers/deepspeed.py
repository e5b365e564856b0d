"""DeepSpeed ZeRO training of adapters and of full weights, on CPU or GPU, one rank per process."""

import importlib
import logging
import os
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.core.errors import ModelRefused, StepError
from pipeline.core.imports import gc_paused, without
from pipeline.core.recipe import Recipe
from pipeline.models.trainers import ADAPTER, MODEL, OnStep, Run, memory, resume
from pipeline.models.trainers.batches import IGNORED, Batch, Rows, collate, order, split, steps_of, tokenise
from pipeline.models.trainers.reference import load, precision, reference
from pipeline.store.schemas import TRAINING_LOG
from pipeline.store.step import Json

IMPORTED = ("deepspeed", "peft", "transformers.models.auto.auto_factory")
logger = logging.getLogger(__name__)


class DeepSpeedTrainer:
    """Trainer over deepspeed.initialize. It trains in a process group, which a rank of a training group has.

    micro_batch: rows per forward pass; None: as many as memory allows. gpus: GPUs per rank.
    """

    def __init__(self, *, zero_stage: int, micro_batch: int | None, gpus: float = 0) -> None:
        self.zero_stage = zero_stage
        self.micro_batch = micro_batch
        self.gpus = gpus
        with gc_paused(), without("sklearn"):
            for package in IMPORTED:
                importlib.import_module(package)

    def train(self, run: Run, on_step: OnStep) -> pa.Table | None:
        import torch
        import torch.distributed as dist
        from transformers import AutoTokenizer

        torch.manual_seed(run.seed)
        tokenizer = AutoTokenizer.from_pretrained(run.model, trust_remote_code=False)
        rows = tokenise(run.rows, tokenizer, run.recipe.max_length)
        model = _trainable(run)
        _require_savable(model, tokenizer, run)
        accumulation = self._accumulation(model, rows, run)
        engine = self._engine(model, run.recipe, accumulation)
        log = _loop(engine, rows, run, pad_id=tokenizer.pad_token_id or 0, accumulation=accumulation, on_step=on_step)
        self._save(engine, run, tokenizer)
        engine.destroy()
        return pa.Table.from_pylist(log, TRAINING_LOG) if dist.get_rank() == 0 else None

    def reference(self, model: Path, adapter: Path | None = None) -> Json:
        return reference(model, adapter)

    def _accumulation(self, model: Any, rows: Rows, run: Run) -> int:
        """Forward passes per optimiser step and rank, the same on all ranks.

        A resumed run makes at least as many passes as before, so that its sums round in the same way.
        """
        import torch
        import torch.distributed as dist

        ranks = dist.get_world_size()
        shape = memory.model_of(
            model.config.get_text_config().to_dict(),
            weights=sum(weight.numel() for weight in model.parameters()),
            trained=sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
            value_bytes=next(model.parameters()).element_size(),
            eager=model.config._attn_implementation == "eager",
        )
        on_cpu = not torch.cuda.is_available()
        fixed = memory.fixed_bytes(shape, zero_stage=self.zero_stage, ranks=ranks, loaded=on_cpu)
        prompt, completion = (max(map(len, texts), default=0) for texts in (rows.prompts, rows.completions))
        row = memory.row_bytes(shape, prompt, completion, on_cpu=on_cpu)
        own = -(-run.recipe.batch // ranks)
        found = memory.passes(own, self.micro_batch, fixed=fixed, row=row, available=self._available())
        before = min(resume.passes_before(run.checkpoints), own)
        agreed = torch.tensor(max(found, before), device=_device())
        dist.all_reduce(agreed, dist.ReduceOp.MAX)
        passes = int(agreed)
        micro_batch = -(-own // passes)
        logger.info(
            "%s: %d rows at a time, about %.2f GiB", run.base, micro_batch, (fixed + row * micro_batch) / memory.GIB
        )
        return passes

    def _available(self) -> int:
        """Bytes of memory available to this rank: of its GPU, or its part of the machine's."""
        import torch
        import torch.distributed as dist

        if not torch.cuda.is_available():
            return memory.free_memory() // int(os.environ.get("LOCAL_WORLD_SIZE", dist.get_world_size()))
        torch.cuda.empty_cache()  # left by the previous training in this process
        free, total = torch.cuda.mem_get_info()
        return min(free, int(total * self.gpus)) if 0 < self.gpus < 1 else int(free)

    def _engine(self, model: Any, recipe: Recipe, accumulation: int) -> Any:
        import deepspeed
        import torch

        # An extension only for inference, compiled on first use. A process killed during that leaves a lock, and every
        # later training on that machine would wait for it for ever.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        optimizers = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
        optimizer = optimizers[recipe.optimizer](trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        # No larger than the gradients: the default takes 1 GB of a GPU, which an adapter never fills.
        bucket = min(memory.BUCKET, sum(weight.numel() for weight in trained))
        engine, *_ = deepspeed.initialize(
            model=model,
            optimizer=optimizer,
            config={
                # The loss is already a mean over the whole step, so these only decide how often to step.
                "train_micro_batch_size_per_gpu": 1,
                "gradient_accumulation_steps": accumulation,
                "gradient_clipping": recipe.gradient_norm,
                "zero_optimization": {"stage": self.zero_stage, "reduce_bucket_size": bucket},
                "zero_allow_untested_optimizer": True,
                "zero_force_ds_cpu_optimizer": False,
                "bf16": {"enabled": precision() is torch.bfloat16},
                "steps_per_print": 1 << 30,
            },
            dist_init_required=False,
        )
        if self.zero_stage == 0:
            # In bfloat16 DeepSpeed has taken a step of zero gradients, which would count in Adam's bias correction.
            optimizer.state.clear()
        return engine

    def _save(self, engine: Any, run: Run, tokenizer: Any) -> None:
        import deepspeed
        import torch.distributed as dist

        weights = list(engine.module.parameters())
        with deepspeed.zero.GatheredParameters(weights, enabled=self.zero_stage == 3):
            if dist.get_rank() != 0:
                return
            if run.recipe.method == "lora":
                # False: adapters contain none, and "auto" may query the hub for the base.
                engine.module.save_pretrained(run.out / ADAPTER, save_embedding_layers=False)
                (run.out / ADAPTER / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
            else:
                engine.module.save_pretrained(run.out / MODEL)
                tokenizer.save_pretrained(run.out / MODEL, save_jinja_files=False)


def _trainable(run: Run) -> Any:
    """The model, with only the weights trainable that the recipe trains."""
    recipe = run.recipe
    try:
        model = load(run.model)
    except ModelRefused as error:
        raise ModelRefused(str(error).replace(str(run.model), f"the model of {run.base}")) from None
    if recipe.method == "lora":
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=recipe.rank, lora_alpha=recipe.alpha, target_modules="all-linear", bias="none", task_type="CAUSAL_LM"
        )
        adapted = get_peft_model(model, config)
        # PEFT would write a local path, and a set in an order that varies by process.
        written = adapted.peft_config["default"]
        written.base_model_name_or_path = f"{run.base}/{MODEL}"
        written.target_modules = sorted(written.target_modules)
        return adapted
    if recipe.freeze_embeddings:
        for embeddings in (model.get_input_embeddings(), model.get_output_embeddings()):
            embeddings.weight.requires_grad = False
    return model


def _require_savable(model: Any, tokenizer: Any, run: Run) -> None:
    """Try to save everything but the weights. Raises StepError now, rather than after the last training step."""
    if run.recipe.method == "lora":
        return  # an adapter contains no file of the base
    parts = {"config.json": model.config, "generation_config.json": model.generation_config, "tokenizer": tokenizer}
    for name, part in parts.items():
        try:
            with tempfile.TemporaryDirectory(prefix="undertow-") as scratch:
                if part is not None:
                    part.save_pretrained(scratch)
        except OSError:
            raise  # a fault of this machine's disk, not of the file
        except Exception as error:  # transformers raises many kinds
            raise StepError(
                f"a model trained from {run.base} could not be saved: its {name} is invalid: {_in_one_line(error)}. "
                "Correct that file in the family's folder, or train adapters (method: lora)"
            ) from error


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _loop(
    engine: Any, rows: Rows, run: Run, *, pad_id: int, accumulation: int, on_step: OnStep
) -> list[dict[str, float]]:
    """Train over all rows and epochs, from the last checkpoint on; one log entry per optimiser step."""
    import torch.distributed as dist

    rank, ranks = dist.get_rank(), dist.get_world_size()
    recipe, parts = run.recipe, ranks * accumulation
    steps = steps_of(len(rows), recipe.epochs, recipe.batch)
    last = min(steps, run.stop_after or steps)
    engine.train()
    log = resume.resumed(engine, run)
    started = time.monotonic() - (log[-1]["seconds"] if log else 0.0)
    batches = enumerate(order(len(rows), recipe.epochs, recipe.batch, run.seed))
    for step, chosen in islice(batches, len(log), last):
        rate = recipe.learning_rate * rate_factor(recipe, step, steps)
        for group in engine.optimizer.param_groups:
            group["lr"] = rate
        tokens = sum(len(rows.completions[i]) for i in chosen)
        total = 0.0
        for part in split(chosen, parts)[rank::ranks]:
            # An empty part still runs, with weight 0: the ranks must stay in step.
            batch = collate(rows, part if len(part) else chosen[:1], pad_id)
            loss = _loss_sum(engine, batch) * (1.0 if len(part) else 0.0)
            total += float(loss.detach())
            engine.backward(loss * (parts / tokens))  # DeepSpeed averages over ranks and accumulation
            engine.step()
        due = rank == 0 and run.checkpoints is not None and run.checkpoints.due(step + 1, last)
        # Rank 0's clock decides for all ranks whether to save.
        loss_sum, save = resume.over_ranks([total, float(due)], engine.device)
        log.append(
            {
                "step": step + 1,
                "epoch": min((step + 1) * recipe.batch / len(rows), recipe.epochs),
                "loss": loss_sum / tokens,
                "learning_rate": rate,
                "tokens": tokens,
                "seconds": time.monotonic() - started,
            }
        )
        if rank == 0:
            on_step(log[-1], last)
        if run.checkpoints and save:
            resume.save(engine, run.checkpoints, log)
    return log


def _loss_sum(engine: Any, batch: Batch) -> Any:
    """Summed cross-entropy (nats) of a batch's completion tokens."""
    import torch

    def tensor(ids: Any) -> Any:
        return torch.from_numpy(ids).to(engine.device)

    columns = batch.labels.shape[1]
    logits = engine(  # (B, C + 1, V): from the prompt's last column on
        input_ids=tensor(batch.input_ids),
        attention_mask=tensor(batch.attention_mask),
        position_ids=tensor(batch.position_ids),
        logits_to_keep=columns + 1,
        use_cache=False,
    ).logits
    predictions = logits[:, :-1].flatten(0, 1).float()  # (B · C, V)
    return torch.nn.functional.cross_entropy(
        predictions, tensor(batch.labels).flatten(), ignore_index=IGNORED, reduction="sum"
    )


def rate_factor(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of a step as a fraction of the peak: linear warm-up, then the recipe's schedule."""
    import math

    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, steps - recipe.warmup_steps)
    return {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1.0 + math.cos(math.pi * done))}[recipe.schedule]
