"""No secret of an address is shown, whatever its form."""

import pytest

from malaria.core.addresses import has_secret, shown

PLANTED = "planted"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://ada:planted@h:5000/x", "http://h:5000/x"),
        ("http://ada:pa@planted@h", "http://h"),
        ("http://ada:planted@pa@h/x@y", "http://y"),  # where the password ends cannot be known
        ("postgresql://ada:pa/planted@h/db", "postgresql://h/db"),
        ("postgresql://ada:planted?pa#x@h/db", "postgresql://h/db"),
        ("https://planted@h/x", "https://h/x"),
        ("http://ada:12/planted@h:1", "http://h:1"),
        ("http://ada:12?planted@h", "http://h"),
        ("https://h/x?code=planted", "https://h/x?code=***"),
        ("https://h/x?tokens[]=planted", "https://h/x?tokens[]=***"),
        ("https://h/x?AWSAccessKeyId=planted", "https://h/x?AWSAccessKeyId=***"),
        ("https://h/x?token=planted", "https://h/x?token=***"),
        ("https://h/x?a=1&password=planted&b=2", "https://h/x?a=1&password=***&b=2"),
        ("https://h/x?X-Amz-Signature=planted", "https://h/x?X-Amz-Signature=***"),
        ("https://h/x?sig=planted&sv=2", "https://h/x?sig=***&sv=2"),
        ("https://h/x#access_token=planted", "https://h/x#access_token=***"),
        (
            "postgresql+psycopg://h/db?user=ada&PASSWORD=planted",
            "postgresql+psycopg://h/db?user=ada&PASSWORD=***",
        ),
    ],
)
def test_an_address_is_shown_without_its_secrets(address: str, expected: str) -> None:
    assert shown(address) == expected
    assert has_secret(address)
    text = f"it is '{address}' (see {address}); start it."
    assert shown(text) == f"it is '{expected}' (see {expected}); start it."


@pytest.mark.parametrize(
    "address",
    [
        "http://h/x@2x.png?page=1",
        "https://h/icon@2x.png",
        "sqlite:////srv/a@b/mlflow.db",
        "https://h/x?monkeys=1&authuser=0",
        "a@b.org, user:password and ?token without a value",
        "postgresql://h:5432/db?connect_timeout=5",
    ],
)
def test_what_is_no_secret_stays(address: str) -> None:
    assert shown(address) == address
    assert not has_secret(address)


@pytest.mark.parametrize(
    ("address", "message", "expected"),
    [
        ("postgresql://u:planted@ss@h/db", "cannot resolve 'ss@h'", "cannot resolve '***@h'"),
        ("postgresql://u:pl anted@h/db", "in postgresql://u:pl anted@h/db", "in postgresql://h/db"),
        ("http://u:pl'anted@h/db", "no pl'anted here", "no *** here"),
        ("postgresql://u:pl%40nted@h/db", "no pl@nted here, passed", "no *** here, passed"),
        ("http://h/?token=planted%2F1", "url: /api?x=planted/1", "url: /api?x=***"),
        ("https://planted@h", "user planted", "user ***"),
        ("postgresql://mlflow@h/db", "role mlflow", "role mlflow"),
    ],
)
def test_a_library_may_have_torn_it_apart(address: str, message: str, expected: str) -> None:
    assert shown(message, address) == expected


@pytest.mark.parametrize(
    "address",
    [
        "https://ada:pl anted@h/x.zip",
        "https:/ada:planted@h/x.zip",
        "ada:planted@h/x.zip",
        "https://h/x.zip?%74oken=planted",
        "https://h/x.zip?sas=planted",
    ],
)
def test_an_address_that_is_no_whole_one_may_hold_a_secret(address: str) -> None:
    assert has_secret(address)


def test_a_path_holds_none() -> None:
    assert not has_secret("data/a@b/cells.zip")
