"""scripts/update-prices against a catalogue on loopback: refreshed, or nothing changed and a reason."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prices.update import main

from ci_runner.providers.prices import Row, read_rows, rows_text

AWS = """InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone,Arch
g5.xlarge,A10G,1,4.0,16.0,,1.1,0.44,us-east-1,use1-az1,x86_64
g5.xlarge,A10G,1,4.0,16.0,,1.1,0.47,us-east-1,use1-az2,x86_64
g5.xlarge,A10G,1,4.0,16.0,,1.1,,us-east-1,use1-az3,x86_64
g5.2xlarge,A10G,1,8.0,32.0,,1.212,0.5,us-west-2,usw2-az1,x86_64
,Orphan,1,,,,1,1,us-east-1,use1-az1,
"""
GCP = """InstanceType,vCPUs,MemoryGiB,AcceleratorName,AcceleratorCount,GpuInfo,Region,AvailabilityZone,Price,SpotPrice
a2-highgpu-1g,12.0,85.0,,,,us-central1,us-central1-a,0.7,0.3
,,,tpu-v6e-1,1,tpu-v6e-1,us-central1,us-central1-b,2.8,0.6
,,,tpu-v6e-4,1,tpu-v6e-4,us-central1,us-central1-b,11.2,2.4
,,,tpu-v6e-1,1,tpu-v6e-1,asia-east1,asia-east1-c,700.0,700.0
,,,tpu-v5p-8,1,tpu-v5p-8,us-east5,us-east5-a,16.8,900.5
,,,A100,1,,us-central1,us-central1-a,2.9,1.1
"""
ROWS = [
    Row(provider="aws-ec2", type="g5.xlarge", region="us-east-1", on_demand=1.0, date="2026-01", source="a"),
    Row(
        provider="gcp-tpu",
        type="v6e",
        region="us-central1",
        on_demand=2.7,
        spot=0.5,
        date="2026-01",
        source="b",
    ),
    Row(provider="gcp-tpu", type="v6e", region="asia-east1", on_demand=3.0, date="2026-01", source="c"),
    Row(
        provider="gcp-tpu", type="v5p", region="us-east5", on_demand=4.0, spot=2.0, date="2026-01", source="d"
    ),
]


@pytest.fixture
def pages() -> dict[str, bytes]:
    """What the catalogue answers."""
    return {"/aws/vms.csv": AWS.encode(), "/gcp/vms.csv": GCP.encode()}


@pytest.fixture
def base(pages: dict[str, bytes]) -> Iterator[str]:
    """A catalogue on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_words: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(rows_text(ROWS))
    return path


def test_rows_are_refreshed(base: str, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--from", base, "--table", str(table), "--add", "aws-ec2:g5.2xlarge:us-west-2"]) == 0
    found = {(row.type, row.region): row for row in read_rows(table.read_text())}
    assert (found["g5.xlarge", "us-east-1"].on_demand, found["g5.xlarge", "us-east-1"].spot) == (1.1, 0.47)
    assert (found["v6e", "us-central1"].on_demand, found["v6e", "us-central1"].spot) == (2.8, 0.6)
    assert (found["v5p", "us-east5"].on_demand, found["v5p", "us-east5"].spot) == (4.2, 2.0)
    assert found["v6e", "asia-east1"] == ROWS[2]
    assert found["g5.2xlarge", "us-west-2"].on_demand == 1.212
    assert found["v6e", "us-central1"].source == base
    assert found["v6e", "us-central1"].date > "2026-01"
    assert "kept     gcp-tpu v6e asia-east1: not in the catalogue" in capsys.readouterr().out


def test_without_a_network_it_says_so_and_changes_nothing(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = table.read_bytes()
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        port = server.server_port
    assert main(["--from", f"http://127.0.0.1:{port}", "--table", str(table)]) == 1
    said = capsys.readouterr().err
    assert "the catalogue cannot be read" in said
    assert "fix: run it where there is a network" in said
    assert table.read_bytes() == before


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/gcp/vms.csv", None, "404"),
        ("/gcp/vms.csv", b"<html>", "has no column"),
        ("/aws/vms.csv", b"", "has no column"),
    ],
)
def test_an_answer_that_is_no_catalogue_changes_nothing(
    base: str,
    table: Path,
    pages: dict[str, bytes],
    capsys: pytest.CaptureFixture[str],
    path: str,
    body: bytes | None,
    says: str,
) -> None:
    before = table.read_bytes()
    if body is None:
        del pages[path]
    else:
        pages[path] = body
    assert main(["--from", base, "--table", str(table)]) == 1
    assert says in capsys.readouterr().err
    assert table.read_bytes() == before


def test_a_price_that_jumps_is_not_believed(
    base: str, table: Path, pages: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    pages["/aws/vms.csv"] = AWS.replace("1.1,", "110,").encode()
    assert main(["--from", base, "--table", str(table)]) == 1
    assert "DOUBTFUL aws-ec2 g5.xlarge us-east-1" in capsys.readouterr().out
    assert next(row for row in read_rows(table.read_text()) if row.type == "g5.xlarge") == ROWS[0]


def test_only_https_is_asked_elsewhere(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--from", "http://example.invalid", "--table", str(table)]) == 1
    assert "not https" in capsys.readouterr().err
