"""Fetching from a local server that does everything wrong that servers and networks do."""

import hashlib
import http.server
import io
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from urllib3 import HTTPResponse

from contract.errors import ConfigError, CxrflowError, DataError
from datasets import fetch as fetching
from datasets.fetch import ATTEMPTS, KERMANY, PNEUMONIAMNIST, Published, fetch

CONTENT = np.random.default_rng(0).bytes(300_000)
Behaviour = Callable[["Handler", int], None]  # what to do with request number n


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the test says; keeps the Range of every request."""

    behaviour: Behaviour
    content = CONTENT
    etag: str | None = '"v1"'
    seen: list[str | None]

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Range"))
        type(self).behaviour(self, len(self.seen))

    def log_message(self, *_: Any) -> None:
        pass

    def begin(self) -> int:
        """Return where the client wants to go on, as far as a correct server agrees."""
        wanted = self.headers.get("Range")
        if wanted is None or self.headers.get("If-Range", self.etag) != self.etag:
            return 0
        return int(wanted.removeprefix("bytes=").removesuffix("-"))

    def head(self, code: int, length: int, *headers: tuple[str, str]) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(length))
        if self.etag:
            self.send_header("ETag", self.etag)
        for header in headers:
            self.send_header(*header)
        self.end_headers()

    def answer(self, *, stop: int | None = None) -> None:
        """Answer correctly, or close the connection after `stop` bytes of the body."""
        start = self.begin()
        if start >= len(self.content):
            self.head(416, 0)
            return
        place = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
        self.head(206 if start else 200, len(self.content) - start, ("Content-Range", place))
        self.wfile.write(self.content[start:][:stop])


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    servers = []

    def start(behaviour: Behaviour, **attributes: Any) -> str:
        handler = type("H", (Handler,), {"behaviour": staticmethod(behaviour), "seen": [], **attributes})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append((server, handler))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/file"

    start.seen = lambda: servers[-1][1].seen  # type: ignore[attr-defined]
    yield start
    for server, _ in servers:
        server.shutdown()
        server.server_close()


def published(url: str, content: bytes = CONTENT) -> Published:
    return Published("x.npz", url, len(content), hashlib.md5(content).hexdigest(), "Doe 2020.")


def get(what: Published, folder: Path) -> tuple[Path, list[str], list[tuple[int, int]]]:
    said: list[str] = []
    steps: list[tuple[int, int]] = []
    path = fetch(what, folder, progress=lambda *step: steps.append(step), say=said.append, pause_s=0.0)
    return path, said, steps


def whole(folder: Path) -> None:
    """The file is there, its licence too, and nothing else."""
    assert (folder / "x.npz").read_bytes() == CONTENT
    assert sorted(path.name for path in folder.iterdir()) == ["x.npz", "x.npz.txt"]


def drops(every: int) -> Behaviour:
    return lambda handler, _: handler.answer(stop=every)


def test_a_file_of_somebody_elses_is_not_written_over(serve: Any, tmp_path: Path) -> None:
    (tmp_path / "x.npz.txt").write_text("my notes")
    what = published(serve(lambda handler, _: handler.answer()))
    with pytest.raises(ConfigError, match=r"x\.npz\.txt is there and is not what this command writes"):
        get(what, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz.txt"]
    assert (tmp_path / "x.npz.txt").read_text() == "my notes"
    get(what, tmp_path / "other")
    (tmp_path / "other" / "x.npz").unlink()  # fetched again beside its own record
    get(what, tmp_path / "other")
    whole(tmp_path / "other")


def test_licence_citation_and_checksum_are_kept_beside(serve: Any, tmp_path: Path) -> None:
    path, said, steps = get(published(serve(lambda handler, _: handler.answer())), tmp_path / "new")
    whole(tmp_path / "new")
    text = (tmp_path / "new" / "x.npz.txt").read_text()
    for word in ("CC-BY-4.0", "https://creativecommons.org/licenses/by/4.0/", "Doe 2020.", "as published"):
        assert word in text
    assert f"sha256: {hashlib.sha256(CONTENT).hexdigest()}" in text
    assert steps[-1] == (300_000, 300_000) and [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert said == []
    again, said, steps = get(published("http://127.0.0.1:1/"), tmp_path / "new")  # nobody is asked
    assert again == path and "already there and whole" in said[0] and not steps


def test_a_dropped_connection_is_resumed(serve: Any, tmp_path: Path) -> None:
    _, said, _ = get(published(serve(drops(70_000))), tmp_path)
    whole(tmp_path)
    assert serve.seen() == [None] + [f"bytes={n}-" for n in (70_000, 140_000, 210_000, 280_000)]
    assert said[0] == "the connection ended after 70,000 of 300,000 bytes; going on at byte 70,000"


def test_a_second_call_goes_on_where_the_first_gave_up(serve: Any, tmp_path: Path) -> None:
    what = published(serve(lambda handler, n: handler.answer(stop=100_000 if n == 1 else 0)))
    with pytest.raises(DataError, match=rf"\({ATTEMPTS} attempts in a row\); 100,000 bytes are kept in .*x\.npz\.part"):
        get(what, tmp_path)
    assert (tmp_path / "x.npz.part").read_bytes() == CONTENT[:100_000]
    url = serve(lambda handler, _: handler.answer())
    get(replace(what, url=url), tmp_path)
    assert serve.seen() == ["bytes=100000-"]
    whole(tmp_path)


def test_a_server_that_ignores_ranges_starts_again(serve: Any, tmp_path: Path) -> None:
    def ignore(handler: Handler, n: int) -> None:
        handler.head(200, len(CONTENT))
        handler.wfile.write(CONTENT[: 100_000 if n == 1 else None])

    get(published(serve(ignore)), tmp_path)
    assert len(serve.seen()) == 2
    whole(tmp_path)


def test_a_server_that_resumes_elsewhere_is_not_believed(serve: Any, tmp_path: Path) -> None:
    def shifted(handler: Handler, n: int) -> None:
        if n != 2:
            handler.answer(stop=100_000 if n == 1 else None)
            return
        handler.head(206, 10, ("Content-Range", "bytes 5-14/300000"))
        handler.wfile.write(CONTENT[5:15])

    get(published(serve(shifted)), tmp_path)
    assert serve.seen() == [None, "bytes=100000-", None]
    whole(tmp_path)


def test_a_file_that_changed_meanwhile_is_fetched_anew(serve: Any, tmp_path: Path) -> None:
    (tmp_path / "x.npz.part").write_bytes(b"old" * 1000)
    (tmp_path / "x.npz.part.etag").write_text('"v0"')
    get(published(serve(lambda handler, _: handler.answer())), tmp_path)
    assert serve.seen() == ["bytes=3000-"]  # answered with everything, because If-Range did not match
    whole(tmp_path)


@pytest.mark.parametrize("code", [302, 307])
def test_redirects_are_followed_with_their_range(serve: Any, tmp_path: Path, code: int) -> None:
    target = serve(drops(200_000))
    seen = serve.seen()
    url = serve(lambda handler, _: handler.head(code, 0, ("Location", target)))
    get(published(url), tmp_path)
    assert seen == [None, "bytes=200000-"]
    whole(tmp_path)


def test_a_redirect_from_https_to_http_is_refused() -> None:
    def redirect(target: str) -> HTTPResponse:
        return HTTPResponse(status=302, headers={"Location": target})

    with pytest.raises(DataError, match=r"redirects to http://b, expected https; do not trust this network"):
        fetching._REDIRECTS.increment("GET", "https://a", redirect("http://b"))
    for target in ("https://b", "/c", "//b/c"):
        assert fetching._REDIRECTS.increment("GET", "https://a", redirect(target)).redirect == 9


def test_a_server_that_asks_for_a_pause_gets_it(serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    busy: tuple[list[tuple[str, str]], ...] = [("Retry-After", "7")], [("Retry-After", "99999")], []
    url = serve(lambda handler, n: handler.head(503, 0, *busy[n - 1]) if n <= 3 else handler.answer())
    fetch(published(url), tmp_path, progress=lambda *_: None, say=lambda _: None, pause_s=0.5)
    assert slept == [7, fetching.LONGEST_PAUSE_S, 2.0]  # the last by the rule of doubling
    whole(tmp_path)


def test_a_corrupt_file_is_put_aside_and_never_used(serve: Any, tmp_path: Path) -> None:
    bad = CONTENT[:1000] + b"?" + CONTENT[1001:]
    what = published(serve(lambda handler, _: handler.answer(), content=bad))
    with pytest.raises(DataError) as caught:
        get(what, tmp_path)
    message = str(caught.value)
    for word in (hashlib.md5(bad).hexdigest(), f"expected md5 {what.md5}", "x.npz.rejected", "is not used. Run the"):
        assert word in message
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz.rejected"]
    assert (tmp_path / "x.npz.rejected").read_bytes() == bad
    get(replace(what, url=serve(lambda handler, _: handler.answer())), tmp_path)
    assert serve.seen() == [None] and (tmp_path / "x.npz").read_bytes() == CONTENT


def test_a_corrupt_part_of_an_earlier_call_is_found_out(serve: Any, tmp_path: Path) -> None:
    (tmp_path / "x.npz.part").write_bytes(b"?" * 1000)
    with pytest.raises(DataError, match="put aside"):
        get(published(serve(lambda handler, _: handler.answer())), tmp_path)
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (lambda handler, _: handler.head(404, 0), "the server answered 404 Not Found, expected the file; check"),
        (lambda handler, _: handler.head(200, 5), "the server offers 5 bytes, expected 300,000; it is not the"),
        (lambda handler, _: handler.head(503, 0), r"the server answered 503 .*attempts in a row"),
        (lambda handler, _: handler.wfile.write(b"non\x1b[31msense\r\n\r\n"), r"cannot be fetched: the connection"),
        (lambda handler, _: handler.head(302, 0, ("Location", handler.path)), "the server answered 302"),
        (lambda handler, _: handler.head(302, 0, ("Location", "file:///etc/passwd")), "redirects to file:"),
    ],
    ids=["gone", "truncated", "busy", "no http", "loop", "local file"],
)  # fmt: skip
def test_servers_that_do_not_give_the_file(serve: Any, tmp_path: Path, behaviour: Behaviour, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        get(published(serve(behaviour)), tmp_path)
    assert str(caught.value).isprintable() and not (tmp_path / "x.npz").exists()


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be fetched: the connection failed .*check the network"):
        get(published("http://127.0.0.1:1/x"), tmp_path)


def test_a_folder_that_cannot_be_used(serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    what = published(serve(lambda handler, _: handler.answer()))
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file cannot be written .*choose another with --to"):
        get(what, tmp_path / "file")
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(ConfigError, match=r"has 1,000 bytes free, 300,000 more are needed; free some space"):
        get(what, tmp_path)


def test_another_file_of_that_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"is there with md5 .*, expected .*; move it away"):
        get(published("http://127.0.0.1:1/x"), tmp_path)
    assert (tmp_path / "x.npz").read_bytes() == b"mine"


def test_two_fetches_do_not_write_one_file(serve: Any, tmp_path: Path) -> None:
    def nested(handler: Handler, _: int) -> None:
        with pytest.raises(ConfigError, match="another cxrflow is fetching"):
            get(what, tmp_path)
        handler.answer()

    what = published(serve(nested))
    get(what, tmp_path)
    whole(tmp_path)


class TestWithoutAPublishedChecksum:
    """The full-size release: nobody publishes its size or checksum."""

    @pytest.fixture
    def archive(self) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("x", CONTENT)
        return stream.getvalue()

    def what(self, url: str) -> Published:
        return replace(KERMANY, url=url, name="x.zip")

    def test_says_so_and_records_what_it_got(self, serve: Any, tmp_path: Path, archive: bytes) -> None:
        what = self.what(serve(drops(200_000), content=archive))
        path, _, _ = get(what, tmp_path)
        assert path.read_bytes() == archive and serve.seen() == [None, "bytes=200000-"]
        text = (tmp_path / "x.zip.txt").read_text()
        assert "Checked: against nothing: no checksum is known" in text and "10.17632/rscbjbr9sj.2" in text
        assert f"sha256: {hashlib.sha256(archive).hexdigest()}" in text
        assert "already there" in get(what, tmp_path)[1][0]
        path.write_bytes(archive + b"x")
        with pytest.raises(DataError, match="is there with sha256"):
            get(what, tmp_path)

    @pytest.mark.parametrize("etag", [None, 'W/"v1"'])
    def test_is_not_resumed_where_a_change_would_go_unnoticed(
        self, serve: Any, tmp_path: Path, archive: bytes, etag: str | None
    ) -> None:
        behaviour: Behaviour = lambda handler, n: handler.answer(stop=200_000 if n == 1 else None)  # noqa: E731
        get(self.what(serve(behaviour, content=archive, etag=etag)), tmp_path)
        assert serve.seen() == [None, None] and (tmp_path / "x.zip").read_bytes() == archive

    def test_a_page_that_is_no_zip_is_put_aside(self, serve: Any, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"what arrived has or is no whole zip, expected a whole zip; it was put"):
            get(self.what(serve(lambda handler, _: handler.answer(), content=b"<html>log in</html>")), tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["x.zip.rejected"]


def test_what_is_published() -> None:
    assert {size: (what.name, what.size) for size, what in PNEUMONIAMNIST.items()} == {
        28: ("pneumoniamnist.npz", 4_170_669), 64: ("pneumoniamnist_64.npz", 20_606_998),
        128: ("pneumoniamnist_128.npz", 75_506_212), 224: ("pneumoniamnist_224.npz", 214_384_716),
    }  # fmt: skip
    for what in (*PNEUMONIAMNIST.values(), KERMANY):
        assert what.url.startswith("https://") and "Kermany" in what.citation
    assert issubclass(DataError, CxrflowError)
