"""Addresses as people may see them: without user, password and token."""

import re
from collections.abc import Iterator
from urllib.parse import unquote

HIDDEN = "***"
# From the `//` of an address to its end, as far as a text shows where that is.
REST = re.compile(r"""(?<=://)[^\s'"<>`]+""")
# The value of a key that is a secret by its name, as in ?token=..., &X-Amz-Signature=...
VALUE = re.compile(
    r"(?P<key>[?&;#](?:[\w.-]*[-_.])?"
    r"(?:\w*(?:token|password|secret|key)|passwd|pass|pwd|signature|sig|credentials?|auth)=)"
    r"""(?P<value>[^&\s'"<>`]*[^&\s'"<>`.,;:)])""",
    re.IGNORECASE,
)
SPLIT = re.compile(r"[@:/?#&]")
SHORT = 4  # characters; a part of a secret below that is hidden only where it is a whole word


def shown(text: str, *addresses: str) -> str:
    """Return a text without the secrets of the addresses in it.

    Those of `addresses` are taken out wherever they stand: libraries tear an address apart, and
    name what they took for its host.
    """
    for secret in sorted({part for one in addresses for part in _parts(one)}, key=len)[::-1]:
        word = re.escape(secret)
        text = re.sub(word if len(secret) >= SHORT else rf"(?<!\w){word}(?!\w)", HIDDEN, text)
    return VALUE.sub(rf"\g<key>{HIDDEN}", REST.sub(_without_user, text))


def has_secret(address: str) -> bool:
    """Return whether an address holds a user, a password or a token."""
    return shown(address) != address


def _without_user(rest: "re.Match[str]") -> str:
    return rest[0][_end_of_user(rest[0]) :]


def _end_of_user(rest: str) -> int:
    """Return where the host begins: after the last @, which a password may have, too.

    An @ in a path counts only if what stands before the path is no host with a port.
    """
    host, _, port = re.split(r"[/?#]", rest, maxsplit=1)[0].partition(":")
    is_host = "@" not in host + port and (not port or port.isdigit())
    return 0 if is_host else rest.rfind("@") + 1


def _parts(address: str) -> Iterator[str]:
    """Give the secrets of an address, whole and in the parts that it may be torn into."""
    found = [value["value"] for value in VALUE.finditer(address)]
    for match in REST.finditer(address):
        user, _, password = match[0][: _end_of_user(match[0])].removesuffix("@").partition(":")
        found.append(password or (user if address.startswith("http") else ""))
    for secret in found:
        for form in {secret, unquote(secret)}:
            yield from filter(None, [form, *SPLIT.split(form)])
