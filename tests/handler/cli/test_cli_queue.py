"""``dropscribe work --queue`` and ``dropscribe listen``: from the command line to the result, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_rig import Cli, one_line

from handler.child import child_environment

SECRET = "a-token-of-nobody"

# A worker with a scripted engine, in a process of its own.
WORKER = """
import sys
from handler.cli import main
from handler.cli.runtime import Runtime
from handler.fakes import ScriptedEngine

main(sys.argv[1:], obj=Runtime(engine=lambda clock, home, settings: ScriptedEngine()))
"""


@pytest.fixture
def aws(cli: Cli, aws_environment: str) -> Cli:
    """A command line whose AWS is the test's own server."""
    for name in [name for name in cli.env if name.startswith("AWS_")]:
        cli.env[name] = os.environ.get(name)
    cli.env |= {name: os.environ[name] for name in os.environ if name.startswith("AWS_")}
    cli.env["DROPSCRIBE_DRAIN_SECONDS"] = "1"
    return cli


@pytest.fixture
def queue(aws_environment: str) -> Iterator[tuple[Any, str]]:
    """A client, and the URL of a new queue."""
    import boto3

    client = boto3.session.Session().client("sqs")
    yield client, client.create_queue(QueueName=f"told-{uuid.uuid4().hex}")["QueueUrl"]
    client.close()


def waiting(client: Any, url: str) -> int:
    """Messages in the queue, hidden ones too."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    counts = client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(counts[name]) for name in names)


def event(bucket: str, key: str) -> str:
    record = {"eventName": "s3:ObjectCreated:Put", "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}
    return json.dumps({"Records": [record]})


@pytest.mark.parametrize("by", ["url", "name"])
def test_work_on_a_queue(aws: Cli, queue: tuple[Any, str], s3_bucket: str, s3_client: Any, by: str) -> None:
    """`work BUCKET --queue URL|NAME --drain` transcribes what the queue tells, deletes the messages, and ends when
    there are no more.
    """
    client, url = queue
    s3_client.put_object(Bucket=s3_bucket, Key="calls/input/a.wav", Body=b"somebody talks")
    client.send_message(QueueUrl=url, MessageBody=event(s3_bucket, "calls/input/a.wav"))
    name = url if by == "url" else url.rsplit("/", 1)[-1]
    told = aws.json("work", f"s3://{s3_bucket}/calls", "--queue", name, "--drain")
    assert (told["completed"], told["failed"], told["stopped"]) == (1, 0, False)
    assert s3_client.head_object(Bucket=s3_bucket, Key="calls/results/a.wav.json")
    assert "Messages" not in client.receive_message(QueueUrl=url)


def test_a_queue_that_is_not_there(aws: Cli, s3_bucket: str) -> None:
    """A queue that does not exist is told before anything starts: exit code 2."""
    result = aws("work", f"s3://{s3_bucket}", "--queue", "no-such-queue", "--drain")
    assert result.exit_code == 2
    assert "there is no queue no-such-queue" in one_line(result)


def test_a_queue_that_gives_no_answer(aws: Cli, s3_bucket: str) -> None:
    """An endpoint without an answer is worth another try: exit code 69."""
    aws.env["AWS_ENDPOINT_URL_SQS"] = "http://127.0.0.1:9"
    result = aws("work", f"s3://{s3_bucket}", "--queue", "told", "--drain")
    assert result.exit_code == 69
    assert "gives no answer" in one_line(result)


@pytest.mark.parametrize("command", [["work", "--queue", "told", "--drain"], ["listen", "--address", "127.0.0.1:0"]])
def test_a_folder_tells_nobody(cli: Cli, bucket: Path, command: list[str]) -> None:
    """A folder has neither queue nor webhook: one clear line, exit code 2."""
    result = cli(command[0], bucket, *command[1:])
    assert result.exit_code == 2
    assert "not on S3" in one_line(result)
    assert "Use `dropscribe work` without a queue" in one_line(result)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:9980", "some.host:9980", "localhost.evil:1"])
def test_no_open_door_without_a_token(cli: Cli, address: str) -> None:
    """Where others can reach it, `listen` wants a token: exit code 2, in one line that names the setting."""
    result = cli("listen", "s3://bucket", "--address", address)
    assert result.exit_code == 2
    assert "DROPSCRIBE_LISTEN_TOKEN" in one_line(result)


def test_a_busy_port(cli: Cli) -> None:
    """A port that somebody else has is one clear line, exit code 2, before a request goes out."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = cli("listen", "s3://bucket", "--address", address)
    assert result.exit_code == 2
    assert f"{address} cannot be listened on" in one_line(result)
    assert "--address" in one_line(result)


@pytest.mark.parametrize("address", ["", "9980", "127.0.0.1", "127.0.0.1:", ":9980", "::1:9980", "127.0.0.1:99999"])
def test_an_address_that_is_none(cli: Cli, address: str) -> None:
    """An address that cannot be is told as such."""
    result = cli("listen", "s3://bucket", "--address", address)
    assert result.exit_code == 2
    assert "no HOST:PORT" in one_line(result)


def test_the_token_stays_here(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The token is in no representation of the settings, and the engine's environment does not have it."""
    from handler.settings import load_settings

    monkeypatch.setenv("DROPSCRIBE_LISTEN_TOKEN", SECRET)
    settings = load_settings()
    assert settings.listen_token is not None
    assert settings.listen_token.get_secret_value() == SECRET
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert SECRET not in "".join(child_environment(os.environ, tmp_path).values())


def posted(port: int, body: str, token: str | None) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", data=body.encode())
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.mark.parametrize("token", [None, SECRET])
def test_listen_end_to_end(aws: Cli, s3_bucket: str, s3_client: Any, token: str | None) -> None:
    """`listen` says where it listens, takes posts, transcribes what they name, and ends with 0 on SIGTERM. The token
    is never written anywhere.
    """
    aws.env["DROPSCRIBE_LISTEN_TOKEN"] = token
    environ = {**os.environ, **{name: value for name, value in aws.env.items() if value is not None}}
    command = [sys.executable, "-c", WORKER, "listen", f"s3://{s3_bucket}", "--address", "127.0.0.1:0", "--debug", "-v"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)
    said: list[str] = []
    try:
        assert process.stderr is not None

        def until(text: str) -> str:
            for line in process.stderr:  # type: ignore[union-attr]
                said.append(line)
                if text in line:
                    return line
            raise AssertionError("".join(said))

        port = int(until("listening on").partition("port ")[2].partition(",")[0])
        s3_client.put_object(Bucket=s3_bucket, Key="input/a.wav", Body=b"somebody talks")
        if token is not None:
            assert posted(port, event(s3_bucket, "input/a.wav"), None) == 401
        assert posted(port, event(s3_bucket, "input/a.wav"), token) == 200
        until("a.wav: job")
        process.send_signal(signal.SIGTERM)
        out, rest = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, "".join(said) + rest
    assert SECRET not in "".join(said) + rest + out
    assert "Traceback" not in rest


def test_a_signal_ends_a_worker_that_waits(aws: Cli, queue: tuple[Any, str], s3_bucket: str) -> None:
    """A worker in the middle of a long poll ends in order on SIGTERM, and what the poll still brings is given back."""
    client, url = queue
    client.send_message(QueueUrl=url, MessageBody=event(s3_bucket, "input/gone.wav"))
    environ = {**os.environ, **{name: value for name, value in aws.env.items() if value is not None}}
    command = [sys.executable, "-c", WORKER, "work", f"s3://{s3_bucket}", "--queue", url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)
    try:
        while waiting(client, url):  # it is at work once this message is gone
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        client.send_message(QueueUrl=url, MessageBody=event(s3_bucket, "input/late.wav"))
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, stderr
    assert len(client.receive_message(QueueUrl=url, WaitTimeSeconds=1)["Messages"]) == 1
