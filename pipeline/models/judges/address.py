"""Which addresses are private, so that nobody on the way can read what is sent there."""

import ipaddress
from urllib.parse import urlsplit


def is_private(url: str) -> bool:
    """Whether an address is https, or http on this machine itself. Raises ValueError if it is not an address."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    return parts.scheme == "https" or is_loopback(parts.hostname)


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine itself: localhost, 127.0.0.0/8 or ::1."""
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
