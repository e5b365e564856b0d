"""What teachers write: one file per channel, and one entry per channel in `Channel`.

A channel makes the prompts, gives the reasons for rejecting a completion, and makes examples for nano worlds.
"""

from typing import Annotated, get_args

from pydantic import Field

from pipeline.channels.code import CodeChannel
from pipeline.channels.numbers import NumbersChannel
from pipeline.channels.paraphrase import ParaphraseChannel
from pipeline.channels.reasoning import ReasoningChannel

Channel = Annotated[NumbersChannel | CodeChannel | ReasoningChannel | ParaphraseChannel, Field(discriminator="kind")]
CHANNELS = {channel.model_fields["kind"].default: channel for channel in get_args(get_args(Channel)[0])}
