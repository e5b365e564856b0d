"""What a model says by plain transformers and PEFT, from the files as written: what engines are compared with."""

from pathlib import Path
from typing import Any

from pipeline.core import chat_template
from pipeline.core.errors import ModelRefused
from pipeline.engines.canary import OPTIONS, PROMPTS
from pipeline.store.step import Json

NAMED = 3  # tensors that an error message names


def reference(model: Path, adapter: Path | None) -> Json:
    """dtype, and scores: log p (nats) that the answer to each of PROMPTS begins with each of OPTIONS.

    Raises ModelRefused where the folder does not hold every weight of the model, or holds weights that give no numbers.
    """
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    loaded = load(model)
    if adapter is not None:
        from peft import PeftModel

        loaded = PeftModel.from_pretrained(loaded, adapter)
    loaded = loaded.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    scores = [_scores(loaded, tokenizer, chat_template.render(tokenizer, None, prompt)) for prompt in PROMPTS]
    if not all(torch.isfinite(torch.tensor(scores)).flatten()):
        raise ModelRefused(f"{model}: its weights give no finite probabilities; are they complete, and of this model?")
    return {"dtype": str(loaded.dtype).removeprefix("torch."), "scores": scores}


def load(model: Path) -> Any:
    """The causal language model of a folder, in the precision that training uses. Raises ModelRefused."""
    from transformers import AutoModelForCausalLM

    try:
        loaded, found = AutoModelForCausalLM.from_pretrained(
            model,
            dtype=precision(),
            output_loading_info=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except Exception as error:  # whatever the library and its parsers raise
        lines = str(error).strip().splitlines() or ["no message"]
        raise ModelRefused(f"{model}: transformers cannot load it: {type(error).__name__}: {lines[-1]}") from None
    for what, names in (("lacks", found["missing_keys"]), ("has another shape for", found["mismatched_keys"])):
        if names:
            told = ", ".join(sorted(map(str, names))[:NAMED])
            raise ModelRefused(
                f"{model} {what} {len(names)} of the model's weights ({told}…), which would begin at random: fetch the "
                "snapshot again, or look whether config.json belongs to these weights"
            )
    return loaded


def precision() -> Any:
    """The type of a model's weights; the optimiser steps on float32 either way."""
    import torch

    return torch.bfloat16 if torch.cuda.is_available() else torch.float32


def _scores(model: Any, tokenizer: Any, prompt: str) -> list[float]:
    import torch

    (opened,) = chat_template.tokens(tokenizer, [prompt])
    found = []
    for ids in chat_template.continuations(tokenizer, [prompt] * len(OPTIONS), OPTIONS):
        with torch.no_grad():
            logits = model(torch.tensor([opened + ids], device=model.device)).logits[0, len(opened) - 1 : -1]
        logprobs = logits.float().log_softmax(-1)
        found.append(float(logprobs[range(len(ids)), ids].sum()))
    return found
