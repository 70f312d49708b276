"""The options ``--fast``, ``--long`` and ``--s3``, and which marked tests run.

``heavy`` tests need the extra `models`: left out with ``--fast``, and an error where they are meant to run and it is
not installed. ``long`` ones run with ``--long`` alone. ``gpu`` ones run where there is a CUDA device. ``server`` ones
run on any S3 server: with ``--s3`` on the one given, and no others run then.

Every result that a test's worker publishes is checked against Deepgram's contract, when the test has passed.

And the fixtures that several parts share: S3's protocol from a server on loopback, tiny Whispers, built once a session,
and `tell`, for figures that are printed at the end.
"""

from __future__ import annotations

import gc
import hashlib
import importlib.util
import logging
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipeline.cores import share_cores
from tests.s3_place import Place, given_place, made_place

share_cores()  # tests run side by side, too
gc.set_threshold(20_000)  # each client of boto3 leaves so much garbage that the search took a third of some tests' time

_MODELS = Path(__file__).parent / "models"
_HEAVY = ("torch", "demucs", "nemo")
_TOLD = "told"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="leave out the tests that need the extra `models`")
    parser.addoption("--long", action="store_true", help="run the tests that take minutes to hours, too")
    parser.addoption(
        "--s3", metavar="URL", help="run the store's contract and a job on this server: s3://BUCKET/PREFIX"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--s3"):
        config.hook.pytest_deselected(items=[item for item in items if "server" not in item.keywords])
        items[:] = [item for item in items if "server" in item.keywords]
    fast, long = config.getoption("--fast"), config.getoption("--long")
    for item in items:
        if fast and "heavy" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="left out with --fast"))
        if not long and "long" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="runs with --long"))
        if "gpu" in item.keywords and not _cuda():
            item.add_marker(pytest.mark.skip(reason="there is no CUDA device here"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    missing = [name for name in _HEAVY if importlib.util.find_spec(name) is None] if "heavy" in item.keywords else []
    if missing and not item.config.getoption("--fast"):
        pytest.fail(f"{', '.join(missing)} missing: `./run test` installs the extra `models`; --fast leaves it out")


_MODULES = pytest.StashKey[int]()


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """What libraries keep for good, a million objects with NeMo, is not gone through whenever garbage is collected."""
    if len(sys.modules) > item.config.stash.get(_MODULES, 0) + 200:
        gc.collect()
        gc.freeze()
        item.config.stash[_MODULES] = len(sys.modules)


def _cuda() -> bool:
    import ctranslate2

    return bool(ctranslate2.get_cuda_device_count())


# ── results ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Results:
    """Every result that this process puts together, in whatever test: each must keep Deepgram's contract."""

    def __init__(self) -> None:
        self.made: list[bytes] = []
        self.checked: set[bytes] = set()

    def watch(self, module: Any) -> None:
        assemble = module.assemble

        def noted(metadata: bytes, results: bytes) -> bytes:
            body: bytes = assemble(metadata, results)
            self.made.append(body)
            return body

        module.assemble = noted

    def check(self) -> None:
        """Those made since the last time; an equal one is checked once."""
        made, self.made = self.made, []
        new = {hashlib.sha256(body).digest(): body for body in made}
        for digest in new.keys() - self.checked:
            from tests.deepgram_contract import check_result

            check_result(new[digest])
            self.checked.add(digest)


_RESULTS = _Results()


def pytest_sessionstart() -> None:
    import handler.cli.run
    import handler.publish

    _RESULTS.watch(handler.publish)
    _RESULTS.watch(handler.cli.run)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A test that makes a result which Deepgram's clients would not take fails, whatever it is about."""
    _RESULTS.made.clear()
    result = yield
    _RESULTS.check()
    return result


@pytest.fixture(autouse=True)
def roomy_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker fetches ahead, or not, however full this machine's disk is."""
    monkeypatch.setattr("handler.worker.ahead.disk_usage", lambda path: (1 << 40, 0, 1 << 40))


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Whether there are hours to spend."""
    return bool(request.config.getoption("--long"))


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Print a line at the end of the run: of the proof, or of the server with ``--s3``."""
    section = "the server" if "server" in request.keywords else "the proof"
    return lambda line: request.node.user_properties.append((_TOLD, (section, line)))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """From the reports, which also the processes of a divided run send."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    told = [tuple(line) for report in reports for name, line in report.user_properties if name == _TOLD]
    for section in dict.fromkeys(section for section, _ in told):
        if section == "the server" and not config.getoption("--s3"):
            continue
        terminalreporter.section(section)
        for line in dict.fromkeys(line for place, line in told if place == section):
            terminalreporter.line(line)


# ── S3 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The URL of an S3 server that lives as long as the tests. It checks, then writes: it shows no atomicity."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws_environment(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The AWS variables of somebody who uses `s3_endpoint`, and nobody's own configuration. Gives the endpoint."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return s3_endpoint


@pytest.fixture
def s3_client(aws_environment: str) -> Iterator[Any]:
    """A plain boto3 client, for what the `Store` protocol has no word for."""
    import boto3

    client = boto3.session.Session().client("s3")
    yield client
    client.close()


@pytest.fixture
def s3_bucket(s3_client: Any) -> str:
    """A new bucket's name."""
    name = f"bucket-{uuid.uuid4().hex}"
    s3_client.create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="session")
def s3_given(request: pytest.FixtureRequest) -> Iterator[Place | None]:
    """The bucket and prefix that ``--s3`` names; a bucket that had to be made for it is gone again afterwards."""
    url = request.config.getoption("--s3")
    if not url:
        yield None
        return
    with given_place(url) as place:
        yield place


@pytest.fixture
def s3_place(request: pytest.FixtureRequest, s3_given: Place | None) -> Iterator[Place]:
    """An empty prefix of a bucket: on the server that ``--s3`` names, and emptied again, or on `s3_endpoint`."""
    if s3_given is not None:
        with made_place(s3_given) as place:
            yield place
        return
    yield Place(request.getfixturevalue("s3_client"), request.getfixturevalue("s3_bucket"), "some/prefix")


# ── models ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, _MODELS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fixed_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a multilingual Whisper whose answers are known: see tests/models/make_fixed_whisper.py."""
    folder = tmp_path_factory.mktemp("fixed") / "fixed-whisper"
    _script("make_fixed_whisper").main(folder)
    return folder


@pytest.fixture(scope="session")
def fixed_whisper_english(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, English only."""
    folder = tmp_path_factory.mktemp("fixed") / "fixed-whisper.en"
    _script("make_fixed_whisper").main(folder, multilingual=False)
    return folder


@pytest.fixture(scope="session")
def slow_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose first word takes two seconds."""
    folder = tmp_path_factory.mktemp("fixed") / "slow-whisper"
    _script("make_fixed_whisper").main(folder, slow_start=True)
    return folder


@pytest.fixture(scope="session")
def counting_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that writes a figure where it could write a word."""
    folder = tmp_path_factory.mktemp("fixed") / "counting-whisper"
    _script("make_fixed_whisper").main(folder, figures=True)
    return folder
