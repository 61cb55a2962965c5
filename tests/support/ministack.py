"""A local cloud: MiniStack in a process of its own, for DynamoDB, SQS, SNS, SSM and secrets."""

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

REGION = "eu-central-1"
_BOOT_S = 30


class MiniStack(NamedTuple):
    """Where it is; pid is the process's, to stop, suspend or kill it."""

    url: str
    pid: int

    @property
    def env(self) -> dict[str, str]:
        """The variables by which every botocore client, here or in a child, finds it."""
        return environment(self.url)

    def client(self, service: str, **config: Any) -> Any:
        """Make a client of its own; config: botocore's Config, a short way to fail by default."""
        return make_client(service, self.url, **config)


def environment(url: str) -> dict[str, str]:
    """Give botocore's variables for a local endpoint; the credentials open nothing anywhere."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def make_client(service: str, url: str, **config: Any) -> Any:
    """Make a botocore client of a local endpoint, whatever the environment says."""
    from botocore.config import Config
    from botocore.session import Session

    chosen = {"retries": {"total_max_attempts": 1}, "connect_timeout": 2, "read_timeout": 10}
    return Session().create_client(
        service,
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
        aws_secret_access_key="local",
        config=Config(**{**chosen, **config}),
    )


@contextmanager
def ministack(folder: Path) -> Iterator[MiniStack]:
    """Run MiniStack until the end; it keeps everything in memory.

    folder: for its log and whatever else it writes.
    """
    # The socket is ours from the start, so no other process can take the port meanwhile.
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        port = listening.getsockname()[1]
        with (folder / "ministack.log").open("w") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "hypercorn", "ministack.app:app"),
                    *("--bind", f"fd://{listening.fileno()}"),
                    *("--log-level", "WARNING", "--keep-alive", "75"),
                ],
                env=_process_environment(port, folder),
                pass_fds=[listening.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_ready(url, process, folder)
        yield MiniStack(url, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _process_environment(port: int, folder: Path) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {
        **ours,
        "GATEWAY_PORT": str(port),
        "MINISTACK_REGION": REGION,
        "LOG_LEVEL": "WARNING",
        "TMPDIR": str(folder),
        # What would open further ports, or look for containers.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": "unix:///nowhere",
    }


def _wait_ready(url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    # The socket listens already: the question waits in its backlog until somebody answers.
    try:
        urllib.request.urlopen(f"{url}/_ministack/ready", timeout=_BOOT_S).close()
    except OSError as error:
        said = (folder / "ministack.log").read_text()[-2000:]
        raise RuntimeError(
            f"MiniStack did not start (exit code {process.poll()}): {error}\n{said}"
        ) from error
