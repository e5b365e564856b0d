"""DeepSpeed ZeRO training of adapters and of full weights, on CPU or GPU, one rank a process."""

import tempfile
import time
import uuid
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.recipe import Recipe
from pipeline.rows import TRAINING_LOG
from pipeline.step import Json
from pipeline.trainers import ADAPTER, MODEL, OnStep, Run
from pipeline.trainers.batches import IGNORED, Batch, Rows, collate, order, split, steps_of, tokenise
from pipeline.trainers.checkpoints import Checkpoints
from pipeline.trainers.reference import load, reference

TAG = "state"  # DeepSpeed's name for a checkpoint's folder; ours says which step it is of


class DeepSpeedTrainer:
    """Trainer over deepspeed.initialize; the process group must exist, as it does in a Ray Train worker."""

    def __init__(self, *, zero_stage: int, micro_batch: int) -> None:
        self.zero_stage = zero_stage
        self.micro_batch = micro_batch

    def train(self, run: Run, on_step: OnStep) -> pa.Table | None:
        import torch
        import torch.distributed as dist
        from transformers import AutoTokenizer

        torch.manual_seed(run.seed)
        tokenizer = AutoTokenizer.from_pretrained(run.model, trust_remote_code=False)
        rows = tokenise(run.rows, tokenizer, run.recipe.max_length)
        ranks = dist.get_world_size()
        parts = ranks * -(-run.recipe.batch // (ranks * self.micro_batch))
        model = _trainable(run.model, run.recipe)
        engine = self._engine(model, run.recipe, accumulation=parts // ranks)
        log = _loop(engine, rows, run, pad_id=tokenizer.pad_token_id or 0, parts=parts, on_step=on_step)
        self._save(engine, run, tokenizer)
        engine.destroy()
        return pa.Table.from_pylist(log, TRAINING_LOG) if dist.get_rank() == 0 else None

    def reference(self, model: Path, adapter: Path | None = None) -> Json:
        return reference(model, adapter)

    def _engine(self, model: Any, recipe: Recipe, accumulation: int) -> Any:
        import deepspeed
        import torch

        # Compiled at the first start, for inference alone: whoever is killed meanwhile leaves a lock behind, at which
        # every later training on that machine would wait for ever.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        optimizers = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
        optimizer = optimizers[recipe.optimizer](trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        engine, *_ = deepspeed.initialize(
            model=model,
            optimizer=optimizer,
            config={
                # The loss is already a mean over the whole step, so these only tell how often to step.
                "train_micro_batch_size_per_gpu": 1,
                "gradient_accumulation_steps": accumulation,
                "gradient_clipping": recipe.gradient_norm,
                "zero_optimization": {"stage": self.zero_stage},
                "zero_allow_untested_optimizer": True,
                "zero_force_ds_cpu_optimizer": False,
                "bf16": {"enabled": torch.cuda.is_available()},
                "steps_per_print": 1 << 30,
            },
            dist_init_required=False,
        )
        return engine

    def _save(self, engine: Any, run: Run, tokenizer: Any) -> None:
        import deepspeed
        import torch.distributed as dist

        weights = list(engine.module.parameters())
        with deepspeed.zero.GatheredParameters(weights, enabled=self.zero_stage == 3):
            if dist.get_rank() != 0:
                return
            if run.recipe.method == "lora":
                engine.module.save_pretrained(run.out / ADAPTER)
                (run.out / ADAPTER / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
            else:
                engine.module.save_pretrained(run.out / MODEL)
                tokenizer.save_pretrained(run.out / MODEL, save_jinja_files=False)


def _trainable(folder: Path, recipe: Recipe) -> Any:
    """The model with exactly those weights trainable that the recipe names."""
    model = load(folder)
    if recipe.method == "lora":
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=recipe.rank, lora_alpha=recipe.alpha, target_modules="all-linear", bias="none", task_type="CAUSAL_LM"
        )
        return get_peft_model(model, config)
    if recipe.freeze_embeddings:
        for embeddings in (model.get_input_embeddings(), model.get_output_embeddings()):
            embeddings.weight.requires_grad = False
    return model


def _loop(engine: Any, rows: Rows, run: Run, *, pad_id: int, parts: int, on_step: OnStep) -> list[dict[str, float]]:
    """Train over all rows and epochs, from the last checkpoint on; one log entry an optimiser step."""
    import torch.distributed as dist

    rank, ranks = dist.get_rank(), dist.get_world_size()
    recipe = run.recipe
    steps = steps_of(len(rows), recipe.epochs, recipe.batch)
    log = _resumed(engine, run.checkpoints)
    started = time.monotonic() - (log[-1]["seconds"] if log else 0.0)
    engine.train()
    batches = enumerate(order(len(rows), recipe.epochs, recipe.batch, run.seed))
    for step, chosen in islice(batches, len(log), None):
        rate = recipe.learning_rate * rate_factor(recipe, step, steps)
        for group in engine.optimizer.param_groups:
            group["lr"] = rate
        tokens = sum(len(rows.completions[i]) for i in chosen)
        total = 0.0
        for part in split(chosen, parts)[rank::ranks]:
            # A part without rows still takes its turn: the ranks must stay in step.
            batch = collate(rows, part if len(part) else chosen[:1], pad_id)
            loss = _loss_sum(engine, batch) * (1.0 if len(part) else 0.0)
            total += float(loss.detach())
            engine.backward(loss * (parts / tokens))  # DeepSpeed averages over ranks and accumulation
            engine.step()
        loss_mean = _over_ranks(total, engine.device) / tokens
        log.append(
            {
                "step": step + 1,
                "epoch": min((step + 1) * recipe.batch / len(rows), recipe.epochs),
                "loss": loss_mean,
                "learning_rate": rate,
                "tokens": tokens,
                "seconds": time.monotonic() - started,
            }
        )
        if rank == 0:
            on_step(log[-1], steps)
        if run.checkpoints and run.checkpoints.due(step + 1, steps):
            _save_checkpoint(engine, run.checkpoints, log)
    return log


def _resumed(engine: Any, checkpoints: Checkpoints | None) -> list[dict[str, float]]:
    """Load the newest whole checkpoint into the engine; returns the log up to there."""
    import torch.distributed as dist

    # Rank 0 looks, so that all ranks go on from the same one.
    if checkpoints is None:
        return []
    found = [checkpoints.latest(dist.get_world_size()) if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(found, src=0)
    if found[0] is None:
        return []
    folder = checkpoints.fetch(found[0], dist.get_world_size())
    _, state = engine.load_checkpoint(str(folder), tag=TAG, load_module_strict=False)
    log: list[dict[str, float]] = state["log"]
    return log


def _save_checkpoint(engine: Any, checkpoints: Checkpoints, log: list[dict[str, float]]) -> None:
    import torch.distributed as dist

    attempt = [uuid.uuid4().hex[:8]]
    dist.broadcast_object_list(attempt, src=0)
    with tempfile.TemporaryDirectory(prefix="undertow-checkpoint-") as scratch:
        engine.save_checkpoint(scratch, tag=TAG, client_state={"log": log}, exclude_frozen_parameters=True)
        checkpoints.save(len(log), attempt[0], Path(scratch), dist.get_rank(), dist.get_world_size())


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


def _over_ranks(value: float, device: Any) -> float:
    import torch
    import torch.distributed as dist

    total = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return float(total)


def rate_factor(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of a step, as a share of its peak: linear warm-up, then the schedule down to 0."""
    import math

    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, steps - recipe.warmup_steps)
    return {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1.0 + math.cos(math.pi * done))}[recipe.schedule]
