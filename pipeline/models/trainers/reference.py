"""Reference scores of a model's saved files, by plain transformers and PEFT, to compare engines with."""

from pathlib import Path
from typing import Any

from pipeline.core import chat_template
from pipeline.core.errors import ModelRefused
from pipeline.models.engines.canary import OPTIONS, PROMPTS
from pipeline.store.step import Json

NAMED = 3  # maximum number of tensors named in an error message


def reference(model: Path, adapter: Path | None) -> Json:
    """dtype, and scores: log p (nats) that the answer to each of PROMPTS begins with each of OPTIONS.

    Raises ModelRefused if the folder lacks weights of the model, or if its weights give no finite scores.
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
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # it would stand in logs, and in the output of commands
    try:
        loaded, found = AutoModelForCausalLM.from_pretrained(
            model,
            dtype=precision(),
            output_loading_info=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except Exception as error:  # the library and its parsers raise many kinds
        lines = str(error).strip().splitlines() or ["no message"]
        raise ModelRefused(f"{model}: transformers cannot load it: {type(error).__name__}: {lines[-1]}") from None
    for what, names in (("lacks", found["missing_keys"]), ("has another shape for", found["mismatched_keys"])):
        if names:
            listed = ", ".join(sorted(map(str, names))[:NAMED])
            raise ModelRefused(
                f"{model} {what} {len(names)} of the model's weights ({listed}…), which would start at random: "
                "fetch the snapshot again, or check that config.json belongs to these weights"
            )
    return loaded


def precision() -> Any:
    """The dtype of a model's weights; the optimiser uses float32 either way."""
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
