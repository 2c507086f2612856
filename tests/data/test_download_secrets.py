"""No password or token of an address is shown, whatever goes wrong with it; ~/.netrc works."""

import base64
from pathlib import Path

import pytest

from malaria.data.download import download_file
from malaria.errors import MalariaError
from tests.data.download_server import BODY, SHA, Handler, Server, whole

PLANTED = "planted"


def redirected(handler: Handler) -> None:
    place = f"http://127.0.0.1:9/x.zip?X-Amz-Signature={PLANTED}"
    handler.answer(302, Location=place, Content_Length=0)


@pytest.mark.parametrize(
    ("user", "query"),
    [(f"ada:{PLANTED}@", ""), (f"ada:pa@{PLANTED}@", ""), ("", f"?token={PLANTED}")],
)
@pytest.mark.parametrize("fault", ["403", "503", "other bytes", "redirected", "away"])
def test_it_is_not_printed(
    server: Server, dest: Path, capfd: pytest.CaptureFixture[str], user: str, query: str, fault: str
) -> None:
    url = server.url.replace("://", f"://{user}") + query
    if fault.isdigit():
        server.script = [lambda handler: handler.answer(int(fault))]
    elif fault == "other bytes":
        server.script = [whole(b"other bytes")]
    elif fault == "redirected":
        server.script = [redirected]
    else:
        url = url.replace(str(server.server_port), "9")
    with pytest.raises(MalariaError) as told:
        download_file(SHA, url, dest)
    printed = capfd.readouterr()
    assert PLANTED not in str(told.value) + printed.out + printed.err
    assert "cell_images.zip" in str(told.value)


def test_a_password_in_netrc_is_used(
    server: Server, dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = "Basic " + base64.b64encode(f"ada:{PLANTED}".encode()).decode()

    def guarded(handler: Handler) -> None:
        if handler.headers["Authorization"] == wanted:
            whole()(handler)
        else:
            handler.answer(401)

    server.script = [guarded]
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login ada password {PLANTED}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    download_file(SHA, server.url, dest)
    assert dest.read_bytes() == BODY
