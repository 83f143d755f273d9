"""The download, against a local server whose addresses misbehave in every way we know of."""

import contextlib
import io
import logging
import os
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torchvision

from tests import fakes
from tests.fakes import assert_same, error_of
from utils.data import sources
from utils.data.dataset import load_dataset
from utils.data.download import PROXY_VARIABLES, REMOTE, TLS_VARIABLES, Limits, Remote, download
from utils.data.sources import CIFAR10, MNIST, Official

LIMITS = Limits(silence=0.5, crawling=200e3, window=0.5)


@dataclass
class Server:
    """Serves ``files`` under ``<url>/<manner>/<name>``; the manner says how it misbehaves."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)  # "manner/name", in the order of arrival
    closing: threading.Event = field(default_factory=threading.Event)

    def address(self, manner: str) -> str:
        return f"{self.url}/{manner}/"


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            manner, name = self.path.strip("/").split("/")
            state.requests.append(f"{manner}/{name}")
            content = state.files[name]
            if manner == "closed":  # not even a status line
                self.close_connection = True
                return
            if manner == "missing":
                self.send_error(404)
                return
            if manner == "wrong":
                content = b"<html>captive portal</html>"
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if manner == "silent":
                self.wfile.write(content[:100])
                state.closing.wait(5)
            elif manner == "short":
                self.wfile.write(content[: len(content) // 2])
            elif manner == "crawling":  # at most 50 kB/s
                for start in range(0, len(content), 1000):
                    if state.closing.wait(0.02):
                        return
                    self.wfile.write(content[start : start + 1000])
            else:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # the other side had enough of us
                super().handle()

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    state.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    yield state
    state.closing.set()
    http.shutdown()
    thread.join()
    http.server_close()


def serve_cifar10(server: Server, tmp_path: Path, *manners: str) -> tuple[Official, Remote]:
    """Puts a tiny archive on the server, to be had at the addresses that ``manners`` name."""
    packed = tmp_path / "packed"
    few = replace(CIFAR10, train_images=10, test_images=5)  # a second, where it crawls
    official = fakes.write_pickles(packed, few, fakes.make_arrays(few))
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(packed / official.folder, official.folder)
    server.files = {archive.name: archive.read_bytes()}
    files = {archive.name: fakes.md5(archive)}
    return official, Remote(tuple(map(server.address, manners)), files, REMOTE["cifar10"].folder)


ARCHIVE = "cifar-10-python.tar.gz"


def everything_under(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


CIFAR10_LAYOUT = sorted([ARCHIVE, *(f"{CIFAR10.folder}/{name}" for name in CIFAR10.files)])


# --- what is downloaded -------------------------------------------------------------------------


def test_cifar10_is_downloaded_into_torchvisions_layout(server: Server, tmp_path: Path) -> None:
    official, remote = serve_cifar10(server, tmp_path, "good", "official")
    data_dir = tmp_path / "data" / "not" / "there" / "yet"
    downloaded = load_dataset("cifar10", data_dir, official, remote)
    assert everything_under(data_dir) == CIFAR10_LAYOUT
    assert_same(downloaded, load_dataset("cifar10", tmp_path / "packed", official))
    assert server.requests == [f"good/{ARCHIVE}"]

    load_dataset("cifar10", data_dir, official, remote)
    assert len(server.requests) == 1  # the second time it is there


def serve_mnist(server: Server, tmp_path: Path, *manners: str) -> tuple[Official, Remote]:
    official = fakes.TINY_MNIST
    packed = fakes.write_idx(tmp_path / "packed", official, fakes.make_arrays(official), gz=True)
    server.files = {path.name: path.read_bytes() for path in packed.iterdir()}
    files = {name: fakes.md5(packed / name) for name in REMOTE["mnist"].files}
    return official, Remote(tuple(map(server.address, manners)), files, REMOTE["mnist"].folder)


def test_mnist_is_downloaded_into_torchvisions_layout(server: Server, tmp_path: Path) -> None:
    official, remote = serve_mnist(server, tmp_path, "missing", "good")
    data_dir = tmp_path / "data"
    downloaded = load_dataset("mnist", data_dir, official, remote)
    assert_same(downloaded, load_dataset("mnist", tmp_path / "packed", official))
    names = [f"{official.folder}/{name}" for name in official.files]
    assert everything_under(data_dir) == sorted(names + [f"{name}.gz" for name in names])
    torchvision_finds = torchvision.datasets.MNIST(data_dir, train=False, download=False)
    assert len(torchvision_finds) == official.test_images
    # An address that failed once is not asked for the other files.
    first = next(iter(remote.files))
    assert server.requests == [f"missing/{first}", *(f"good/{name}" for name in remote.files)]


def test_files_that_are_whole_already_are_not_fetched_again(server: Server, tmp_path: Path) -> None:
    official, remote = serve_mnist(server, tmp_path, "good")
    folder = tmp_path / "data" / official.folder
    folder.mkdir(parents=True)
    first, *others = remote.files
    (folder / first).write_bytes(server.files[first])
    download(official, tmp_path / "data", remote)
    assert server.requests == [f"good/{name}" for name in others]


def test_an_archive_without_its_unpacked_files_is_unpacked(server: Server, tmp_path: Path) -> None:
    official, remote = serve_cifar10(server, tmp_path, "good")
    data_dir = tmp_path / "data"
    half = data_dir / official.folder / "data_batch_1"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"unpacking was interrupted here")
    (data_dir / ARCHIVE).write_bytes(server.files[ARCHIVE])
    load_dataset("cifar10", data_dir, official, remote)
    assert server.requests == []
    assert everything_under(data_dir) == CIFAR10_LAYOUT


# --- addresses that fail ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manners", "asked"),
    [
        *(
            (f"{manner} good official", f"{manner} good")
            for manner in ("missing", "closed", "silent", "crawling", "wrong", "short")
        ),
        ("missing crawling", "missing crawling"),  # the official address may crawl
        ("crawling missing", "crawling missing crawling"),  # and has a second chance
    ],
)
def test_an_address_that_fails_is_left_for_the_next(
    manners: str, asked: str, server: Server, tmp_path: Path
) -> None:
    official, remote = serve_cifar10(server, tmp_path, *manners.split())
    download(official, tmp_path / "data", remote, LIMITS)
    assert everything_under(tmp_path / "data") == CIFAR10_LAYOUT
    assert fakes.md5(tmp_path / "data" / ARCHIVE) == remote.files[ARCHIVE]
    assert server.requests == [f"{manner}/{ARCHIVE}" for manner in asked.split()]


def test_when_all_addresses_fail_each_is_named_with_its_reason_and_no_file_is_left(
    server: Server, tmp_path: Path
) -> None:
    official, remote = serve_mnist(
        server, tmp_path, "wrong", "silent", "missing", "closed", "short"
    )
    nobody = "http://127.0.0.1:9/"  # nothing listens there
    remote = replace(remote, addresses=(nobody, *remote.addresses))
    data_dir = tmp_path / "data"
    assert error_of(lambda: download(official, data_dir, remote, LIMITS)) == (
        "MNIST could not be downloaded: "
        f"{nobody} cannot be reached (ConnectionError); "
        f"{server.address('wrong')} sent another file (wrong MD5); "
        f"{server.address('silent')} was silent for 0.5 s; "
        f"{server.address('missing')} answered HTTP 404; "
        f"{server.address('closed')} cannot be reached (ConnectionError); "
        f"{server.address('short')} broke off. "
        "Put train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, "
        f"t10k-labels-idx1-ubyte.gz into {data_dir / 'MNIST/raw'}, or mnist.npz into {data_dir}, "
        "or use --quick, which needs no download"
    )
    assert everything_under(data_dir) == []
    (data_dir / official.folder / "train-images-idx3-ubyte").touch()
    assert error_of(lambda: download(official, data_dir, remote, LIMITS)).startswith(
        f"{data_dir / official.folder} lacks train-labels-idx1-ubyte, t10k-images-idx3-ubyte, "
        "t10k-labels-idx1-ubyte, and MNIST could not be downloaded: "
    )


# --- the disk -----------------------------------------------------------------------------------


def test_a_data_directory_that_cannot_be_made_is_named(server: Server, tmp_path: Path) -> None:
    official, remote = serve_cifar10(server, tmp_path, "good")
    (tmp_path / "file").write_bytes(b"")
    data_dir = tmp_path / "file" / "data"
    assert error_of(lambda: download(official, data_dir, remote)) == (
        f"{data_dir / official.folder}: cannot be written (Not a directory): "
        "name another --data-dir, or use --quick, which needs no download"
    )
    assert server.requests == []


def test_an_archive_cannot_write_outside_the_data_directory(server: Server, tmp_path: Path) -> None:
    official, remote = serve_cifar10(server, tmp_path, "good")
    evil = tmp_path / "evil.tar.gz"
    with tarfile.open(evil, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../../outside"), io.BytesIO())
    server.files = {ARCHIVE: evil.read_bytes()}
    remote = replace(remote, files={ARCHIVE: fakes.md5(evil)})
    with pytest.raises(tarfile.OutsideDestinationError):
        download(official, tmp_path / "data", remote)
    assert not list(tmp_path.rglob("outside"))


# --- certificates and proxies of this machine ---------------------------------------------------

PROXIED = "cannot be reached through the proxy ("


@pytest.mark.parametrize(
    "variable, value, reason",
    [
        (
            "REQUESTS_CA_BUNDLE",
            "/no/such/bundle.pem",
            "was not asked (Could not find a suitable TLS CA certificate bundle, invalid path: "
            "/no/such/bundle.pem; see REQUESTS_CA_BUNDLE)",
        ),
        # no certificate in it
        ("CURL_CA_BUNDLE", __file__, "fails the check of its certificate (TLS) ([X509"),
        ("https_proxy", "http://127.0.0.1:9", PROXIED),
        (
            "ALL_PROXY",
            "socks5://127.0.0.1:9",
            f"{PROXIED}Missing dependencies for SOCKS support.; see",
        ),
        ("HTTPS_PROXY", "http://[::1", PROXIED),
        (
            "HTTPS_PROXY",
            "http://user:secret@127.0.0.1:99999",
            f"{PROXIED}LocationParseError; see ",
        ),
        (
            "HTTPS_PROXY",
            "http://user:sec/ret@127.0.0.1:9",
            f"{PROXIED}LocationParseError; see ",
        ),
        ("HTTPS_PROXY", "http://me:p@ss/word@127.0.0.1:9", PROXIED),
        ("HTTPS_PROXY", "http://:@:", PROXIED),  # of variables that are not set
    ],
)
def test_what_is_wrong_with_certificates_and_proxies_here_is_told_and_the_next_is_tried(
    variable: str,
    value: str,
    reason: str,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in (*TLS_VARIABLES, *PROXY_VARIABLES):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    caplog.set_level(logging.WARNING)
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    official, remote = serve_cifar10(server, tmp_path, "good")
    here = server.address("good").replace("http:", "https:")  # not through a proxy
    first = here if variable == "CURL_CA_BUNDLE" else "https://localhost:9/"
    remote = replace(remote, addresses=(first, *remote.addresses))
    download(official, tmp_path / "data", remote, LIMITS)
    assert everything_under(tmp_path / "data") == CIFAR10_LAYOUT
    (warning,) = caplog.messages
    assert warning.startswith(f"CIFAR-10: {first} {reason}")
    assert warning.endswith(f"see {variable})")
    secrets = value.rpartition("@")[0]
    assert not any(part in secrets and part in warning for part in ("sec", "ret", "ss", "word"))


def test_an_address_that_speaks_no_tls_fails_the_check(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    official, remote = serve_cifar10(server, tmp_path, "good")
    first = server.address("good").replace("http:", "https:")
    remote = replace(remote, addresses=(first, *remote.addresses))
    download(official, tmp_path / "data", remote, LIMITS)
    assert f"{first} fails the check of its certificate (TLS) ([SSL" in caplog.text


def test_a_pipe_in_place_of_an_archive_is_not_waited_for(server: Server, tmp_path: Path) -> None:
    official, remote = serve_cifar10(server, tmp_path, "good")
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    os.mkfifo(data_dir / ARCHIVE)
    message = error_of(lambda: download(official, data_dir, remote, LIMITS))
    assert message.startswith(f"{data_dir / ARCHIVE}: not a file: ")
    assert server.requests == []


# --- the real addresses, which no test can reach ------------------------------------------------


@pytest.mark.parametrize("name", sources.OFFICIAL)
def test_the_official_address_is_the_last_of_several(name: str) -> None:
    authors_page = {"mnist": "http://yann.lecun.com/", "cifar10": "https://www.cs.toronto.edu/"}
    *mirrors, last = REMOTE[name].addresses
    assert len(mirrors) >= 3
    assert last.startswith(authors_page[name])
    assert all(mirror.startswith("https://") for mirror in mirrors)
    assert all(address.endswith("/") for address in REMOTE[name].addresses)


def test_the_checksums_are_the_published_ones() -> None:
    assert REMOTE["cifar10"].files == {ARCHIVE: "c58f30108f718f92721af3b95e74349a"}
    assert REMOTE["mnist"].files == dict(torchvision.datasets.MNIST.resources)
    assert [f"{name}.gz" for name in MNIST.files] == list(REMOTE["mnist"].files)
