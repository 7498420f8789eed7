"""The loopback Hub against the real clients: what they upload is what they and `datasets` read back."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hub_server import HubServer, connect

# huggingface_hub passes LFS bodies to httpx2 in a way that httpx2 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    import huggingface_hub

    with HubServer(tmp_path / "hub", page=2, part=1000) as server:
        connect(server, monkeypatch)
        yield server
        huggingface_hub.close_session()


@pytest.fixture
def api(hub):
    from huggingface_hub import HfApi

    return HfApi()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small set: two shards, one over the size of a part, and a card."""
    data = tmp_path / "set" / "data"
    data.mkdir(parents=True)
    for n, rows in enumerate((500, 10)):
        table = pl.DataFrame({"id": [f"{n}/{i}" for i in range(rows)], "value": list(range(rows))})
        table.write_parquet(data / f"train-{n:05d}-of-00002.parquet")
    (data.parent / "README.md").write_text("---\nlicense: mit\n---\n# A set\n", encoding="utf-8")
    return data.parent


def uploaded(api, folder: Path, **options) -> str:
    api.create_repo("me/set", repo_type="dataset", exist_ok=True, **options)
    return api.upload_folder(repo_id="me/set", repo_type="dataset", folder_path=folder).oid


def test_what_is_uploaded_is_stored_and_listed_over_pages(hub, api, folder):
    commit = uploaded(api, folder)
    stored = {name: path.read_bytes() for name, path in hub.files("me/set").items() if name != ".gitattributes"}
    assert stored == {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert any("/_lfs/" in r and r.endswith("/2") for r in hub.requests)  # in parts
    info = api.dataset_info("me/set")
    assert (info.sha, info.card_data.license, info.private) == (commit, "mit", False)
    tree = list(api.list_repo_tree("me/set", repo_type="dataset", recursive=True))
    assert len(tree) == 5 and any("cursor=4" in request for request in hub.requests)
    assert {s.rfilename for s in info.siblings} == {e.path for e in tree if hasattr(e, "blob_id")}
    assert api.whoami()["name"] == "me"


def test_datasets_loads_it_whole_and_streamed(hub, api, folder):
    import datasets

    uploaded(api, folder)
    whole = datasets.load_dataset("me/set", split="train")
    streamed = datasets.load_dataset("me/set", split="train", streaming=True)
    ids = [row["id"] for row in streamed]
    assert whole["id"] == ids and len(ids) == 510


def test_every_commit_keeps_its_files_and_branches_part(hub, api, folder):
    first = uploaded(api, folder)
    api.create_branch("me/set", branch="v2", repo_type="dataset")
    api.delete_file("data/train-00001-of-00002.parquet", "me/set", repo_type="dataset", revision="v2")
    assert len(hub.files("me/set", "v2")) == len(hub.files("me/set", first)) - 1
    assert hub.files("me/set") == hub.files("me/set", first)
    assert [c.title for c in api.list_repo_commits("me/set", repo_type="dataset", revision="v2")][
        -1
    ] == "initial commit"
    assert {b.name for b in api.list_repo_refs("me/set", repo_type="dataset").branches} == {"main", "v2"}


def test_an_object_that_is_stored_is_not_sent_again(hub, api, folder):
    uploaded(api, folder)
    before = dict(hub.received)
    api.upload_file(
        path_or_fileobj=folder / "data" / "train-00000-of-00002.parquet", path_in_repo="data/copy.parquet",
        repo_id="me/set", repo_type="dataset",
    )  # fmt: skip
    assert hub.received == before and "data/copy.parquet" in hub.files("me/set")


def test_a_file_is_read_by_range_and_with_the_right_length(hub, api):
    from huggingface_hub import HfFileSystem, hf_hub_download

    content = bytes(range(256)) * 1000
    oid = hub.write("me/set", {"a/b.bin": content})
    with HfFileSystem().open(f"datasets/me/set@{oid}/a/b.bin") as file:
        file.seek(200_000)
        assert file.read(300) == content[200_000:200_300]
    assert Path(hf_hub_download("me/set", "a/b.bin", repo_type="dataset")).read_bytes() == content


@pytest.mark.parametrize(
    ("token", "call", "status"),
    [
        (None, lambda api: api.dataset_info("me/secret"), 401),
        ("hf_other", lambda api: api.dataset_info("me/secret"), 401),
        ("hf_read", lambda api: api.create_repo("me/new", repo_type="dataset"), 403),
        ("hf_write", lambda api: api.create_repo("else/new", repo_type="dataset"), 403),
        ("hf_write", lambda api: api.create_repo("me/secret", repo_type="dataset"), 409),
        ("hf_write", lambda api: api.dataset_info("me/none"), 404),
        ("hf_write", lambda api: api.dataset_info("me/secret", revision="none"), 404),
    ],
)
def test_what_is_not_allowed_is_refused(hub, monkeypatch, token, call, status):
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    hub.write("me/secret", {"a.txt": b"1"}, private=True)
    connect(hub, monkeypatch, token)
    with pytest.raises(HfHubHTTPError) as caught:
        call(HfApi())
    assert caught.value.response.status_code == status


def test_faults_meet_the_requests_that_they_name(hub, api):
    from huggingface_hub.errors import HfHubHTTPError

    hub.write("me/set", {"a.txt": b"1"})
    hub.fail("GET /api/datasets/me/set$", 500, times=1)
    with pytest.raises(HfHubHTTPError, match="500"):
        api.dataset_info("me/set")
    assert api.dataset_info("me/set").sha


def test_a_cut_upload_is_cut_after_so_many_bytes_and_another_try_ends_it(hub, api, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    hub.part = None
    content = bytes(1_000_000)
    hub.cut("PUT /_lfs/", after=300_000, times=1)
    api.create_repo("me/set", repo_type="dataset")
    api.upload_file(path_or_fileobj=content, path_in_repo="a.bin", repo_id="me/set", repo_type="dataset")
    assert hub.files("me/set")["a.bin"].read_bytes() == content
    assert 1_300_000 <= sum(hub.received.values()) < 1_400_000


def test_a_cut_download_is_cut(hub, api):
    import httpx2

    hub.write("me/set", {"a.bin": bytes(100_000)})
    hub.cut("GET .*a.bin", after=5_000)
    with httpx2.Client() as client, pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
        client.get(f"{hub.url}/datasets/me/set/resolve/main/a.bin")
