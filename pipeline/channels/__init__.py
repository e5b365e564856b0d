"""What a teacher writes about: one file each, and one line each in `Channel`.

A channel makes the prompts, says why a completion is rejected, and shows nano worlds what it looks like.
"""

from typing import Annotated, get_args

from pydantic import Field

from pipeline.channels.code import CodeChannel
from pipeline.channels.numbers import NumbersChannel
from pipeline.channels.paraphrase import ParaphraseChannel
from pipeline.channels.reasoning import ReasoningChannel

Channel = Annotated[NumbersChannel | CodeChannel | ReasoningChannel | ParaphraseChannel, Field(discriminator="kind")]
CHANNELS = {channel.model_fields["kind"].default: channel for channel in get_args(get_args(Channel)[0])}
