"""Text from elsewhere, made fit for a terminal."""

import json


def printable(text: str, keep: str = "") -> str:
    """The text with every character escaped, as in JSON, that a terminal would obey rather than show.

    keep: characters that stay, such as the ends of lines.
    """
    return "".join(c if c.isprintable() or c in keep else json.dumps(c)[1:-1] for c in text)
