"""What a teacher writes about: one file each, and one line each in `Channel`."""

from pipeline.channels.numbers import NumbersChannel

Channel = NumbersChannel
CHANNELS: dict[str, type[Channel]] = {"numbers": NumbersChannel}
