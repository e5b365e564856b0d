"""Converts a GGUF file, as llama.cpp reads it, to a model folder in Hugging Face's layout."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.core.errors import InputError, ModelRefused
from pipeline.models.families.saving import save

# How a byte-level tokenizer splits text before it merges: names that a GGUF file has for GPT-2's way, and for the same
# with every digit by itself. transformers 5.19 knows other names, and splits as GPT-2 does for any that it does not.
LIKE_GPT2 = {None, "default", "gpt-2"}
SINGLE_DIGITS = {"smollm"}


def convert(file: Path, folder: Path) -> None:
    """Write the model of a GGUF file into a new folder: float32 weights, configuration, tokenizer and chat template.

    The file alone is read. Raises InputError if the `gguf` library is missing, and ModelRefused if the file cannot be
    converted without a loss.
    """
    if find_spec("gguf") is None:
        raise InputError(
            f"the library gguf, which reads {file.name}, is not installed: install undertow with its extra `real`, or "
            "by itself: pip install --no-deps gguf"
        )
    try:
        model, tokenizer = _load(file)
        _restore_split(file, tokenizer)
    except ModelRefused:
        raise
    except Exception as error:  # the library and its parsers raise many kinds
        lines = str(error).strip().splitlines() or ["no message"]
        raise ModelRefused(
            f"{file.name}: transformers cannot convert it: {type(error).__name__}: {lines[-1]}"
        ) from None
    folder.mkdir(parents=True)
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    save(model, folder)


def _load(file: Path) -> tuple[Any, Any]:
    """The model, with dequantised weights, and the tokenizer. Raises ModelRefused if a weight is missing."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    # The configuration is read once: the library would read the file again for the weights, and AutoTokenizer as well.
    config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name, trust_remote_code=False)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(file.parent, gguf_file=file.name)
    # Scales and levels of 4 bits multiply to more digits than bfloat16 has.
    model, found = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        config=config,
        dtype=torch.float32,
        output_loading_info=True,
        trust_remote_code=False,
    )
    if lost := sorted({*map(str, found["missing_keys"]), *map(str, found["mismatched_keys"])}):
        raise ModelRefused(
            f"{file.name} lacks {len(lost)} of the model's weights ({lost[0]}…), which would start at random"
        )
    del model.config.quantization_config  # the weights are dense now
    tokenizer.model_max_length = model.config.max_position_embeddings
    return model, tokenizer


def _restore_split(file: Path, tokenizer: Any) -> None:
    """Make a tokenizer split text as its merges were learnt. Raises ModelRefused if that way is not known."""
    from tokenizers import pre_tokenizers
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
    from transformers.integrations.gguf.reader import read_gguf_metadata

    about, _ = read_gguf_metadata(str(file))
    split = about.get("tokenizer.ggml.pre")
    if about["tokenizer.ggml.model"] != "gpt2" or split in GGUF_PRE_TOKENIZER_SPLITS or split in LIKE_GPT2:
        return
    if split not in SINGLE_DIGITS:
        raise ModelRefused(
            f"{file.name}: its tokenizer splits text in the way that GGUF calls {split!r}, which is not known here: "
            "blanks and digits would become other tokens than in the model's training. Choose another model"
        )
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
