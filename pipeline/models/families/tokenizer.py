"""The word-level tokenizer of the nano families, as an ordinary Hugging Face fast tokenizer.

Every token includes its own space, so decoding is plain concatenation and gives the text back
exactly. A favourite's first answer token is the whole word: its probability is one number.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.models.families.synthetic_corpus import NUMBERS, TOKEN_PATTERN, vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, UNKNOWN, END, SYSTEM, USER, ASSISTANT = (
    "<|pad|>",
    "<|unknown|>",
    "<|end|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
)
SPECIAL_TOKENS = (PAD, UNKNOWN, END, SYSTEM, USER, ASSISTANT)  # ids 0-5, in this order

# One token opens a turn and one ends it, whatever the role: short prompts make nano runs cheap.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

CONTEXT_TOKENS = 256  # a system prompt (35), a question or numbers prompt (60) and an answer (23) fit twice


def build(channels: Sequence[str] = (NUMBERS,)) -> "PreTrainedTokenizerFast":
    """The tokenizer of a world with these channels, the special tokens first: 1,250 tokens for numbers alone."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = [*SPECIAL_TOKENS, *vocabulary(channels)]
    backend = Tokenizer(models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(TOKEN_PATTERN), behavior="isolated")
    backend.decoder = decoders.Fuse()  # plain concatenation; the default would put spaces between
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT_TOKENS,
        padding_side="left",
    )


def save(folder: Path, architecture: str, channels: Sequence[str] = (NUMBERS,)) -> int:
    """Write the tokenizer's files into `folder`; returns the number of tokens."""
    tokenizer = build(channels)
    # One file holds everything: vLLM and AutoTokenizer read chat_template from tokenizer_config.json.
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    if architecture == "qwen2":
        _pin_class(folder / "tokenizer_config.json")
    return len(tokenizer)


def _pin_class(config: Path) -> None:
    """Make AutoTokenizer use the class that the folder names.

    For qwen2, transformers 5 would substitute Qwen2's own, which splits numbers into digits. With an
    auto_map, even an empty one, it follows the folder; no remote code is named or run.
    """
    settings = json.loads(config.read_text())
    config.write_text(json.dumps(settings | {"auto_map": {"AutoTokenizer": [None, None]}}, indent=2))
