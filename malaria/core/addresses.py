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
    r"(?:\w*(?:tokens?|passwords?|passphrase|secrets?|key(?:id)?|signature)|passwd|pass|pwd?|pw|sig"
    r"|sas|jwt|code|bearer|credentials?|auth|authorization|session(?:id)?)(?:\[\])?=)"
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
    user = address.partition("@")[0] if "@" in address else ""
    is_torn = ":" in re.sub("^[\\w+.-]+:/+", "", user)  # with a blank, one slash, or no scheme
    return is_torn or shown(unquote(address)) != unquote(address)


def _without_user(rest: "re.Match[str]") -> str:
    return rest[0][_end_of_user(rest[0]) :]


def _end_of_user(rest: str) -> int:
    """Return where the host begins: after the last @, which a password may have, too.

    An @ in a path counts only if what stands before the path is a host without a port: a password
    may begin like a port and go on with a slash.
    """
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    return 0 if "@" not in host and ":" not in host else rest.rfind("@") + 1


def _parts(address: str) -> Iterator[str]:
    """Give the secrets of an address, whole and in the parts that it may be torn into."""
    found = [value["value"] for value in VALUE.finditer(address)]
    rest = address.partition("://")[2]  # to its end, as a password may have a blank or a quote
    user, _, password = rest[: _end_of_user(rest)].removesuffix("@").partition(":")
    found.append(password or (user if address.startswith("http") else ""))
    for secret in found:
        for form in {secret, unquote(secret)}:
            yield from filter(None, [form, *SPLIT.split(form)])
