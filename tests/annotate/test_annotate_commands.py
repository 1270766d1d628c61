"""The `annotate` commands as they are typed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from goldeye.annotate.run import Address, changed_settings, dataset_app, dataset_from_folders
from goldeye.annotate.server import running_server
from goldeye.annotate.settings import AnnotationSettings
from goldeye.annotate.store import Store
from goldeye.cli import run
from goldeye.dataset.groups import Dataset
from goldeye.errors import InvalidInput
from goldeye.images import write_image


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = run([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def document(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    code, out, err = call(capsys, *words, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    assert found.pop("schema") == "goldeye.annotate/1"
    return found


def pictures(folder: Path, names: tuple[str, ...] = ("a", "deep/b"), size: int = 16, value: int = 0) -> Path:
    for number, name in enumerate(names):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, np.full((size, size, 3), value + number, np.uint8))
    return folder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two groups, whole pictures, with candidates from two folders."""
    one, two = (pictures(tmp_path / name, value=value) for name, value in (("one", 50), ("two", 90)))
    dataset_from_folders(tmp_path / "set", pictures(tmp_path / "photos"), [f"one={one}", f"two={two}"])
    return tmp_path / "set"


@contextmanager
def served(dataset: Path, *options: object) -> Iterator[dict[str, Any]]:
    """`goldeye annotate DATASET --port 0 --json` in a process of its own; yields what it printed."""
    words = [sys.executable, "-m", "goldeye", "annotate", str(dataset), "--port", "0", "--json", *map(str, options)]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        line = server.stdout.readline()
        assert line, server.stderr.read()
        try:
            yield json.loads(line)
        finally:
            server.send_signal(signal.SIGINT)
            rest, told = server.communicate(timeout=20)
    assert rest == ""  # one document on stdout
    assert told.endswith("goldeye: Stopped; what was finished is kept.\n")
    assert server.returncode == 130


def sign_in(link: str) -> tuple[httpx.Client, httpx.Response]:
    base, _, token = link.partition("#token=")
    client = httpx.Client(base_url=base.removesuffix("owner"), headers={"X-Goldeye": "1"}, timeout=20)
    return client, client.post("/api/session", json={"token": token})


def test_the_owner_gets_a_link_once_and_settings_stay(dataset: Path) -> None:
    with served(dataset, "--votes", "adaptive", "--quota", 7, "--gold-rate", 0.1) as found:
        assert found["settings"] | {"votes": "adaptive", "quota": 7, "gold_rate": 0.1} == found["settings"]
        client, answer = sign_in(found["owner_link"])
        assert answer.json()["role"] == "owner"
        overview = client.get("/api/owner/overview").json()
        assert overview["settings"] == found["settings"]
        assert overview["labels"] is None
    with served(dataset, "--quota", 8) as found:
        assert (found["owner_link"], found["settings"]["votes"], found["settings"]["quota"]) == (None, "adaptive", 8)
        assert client.get(f"{found['address']}/api/session").status_code == 200  # the session outlives the server
    with served(dataset, "--renew") as found:
        assert client.get(f"{found['address']}/api/session").status_code == 401
        assert sign_in(found["owner_link"])[1].json()["role"] == "owner"


def test_from_folders_without_any_training(tmp_path: Path) -> None:
    photos, good = pictures(tmp_path / "photos"), pictures(tmp_path / "good", value=80)
    better, target = pictures(tmp_path / "better", ("a_sr", "deep/b_sr"), value=160), tmp_path / "new"
    options = ("--from", f"good={good}", f"better={better}", "--photos", photos)
    with served(target, *options) as found:
        assert found["groups"] == 2
    with served(target, *options) as found:  # there already: goes on
        assert found["groups"] == 2
    made = Dataset.open(target)
    assert [group.id for group in made.groups] == ["a", "deep__b"]
    assert made.enhancer_names == {"01": "good", "02": "better"}
    with pytest.raises(InvalidInput, match="not made of these folders"):
        dataset_from_folders(target, photos, [f"good={better}"])


@pytest.mark.parametrize(
    ("folders", "sentence"),
    [
        (["good"], r"--from takes NAME=DIR"),
        (["good=GOOD", "good=GOOD"], r"--from takes NAME=DIR"),
        (["../x=GOOD"], r"--from takes NAME=DIR"),
        (["few=FEW"], r"'few' lacks 1 of 2 pictures: deep/b"),
        (["small=SMALL"], r"The versions of 'a' differ in size: .*16x16.* small 8x8"),
        (["none=NONE"], r"There is no folder"),
    ],
)
def test_folders_that_do_not_fit(tmp_path: Path, folders: list[str], sentence: str) -> None:
    photos = pictures(tmp_path / "photos")
    places = {
        "GOOD": pictures(tmp_path / "good"),
        "FEW": pictures(tmp_path / "few", ("a",)),
        "SMALL": pictures(tmp_path / "small", size=8),
        "NONE": tmp_path / "none",
    }
    for word, place in places.items():
        folders = [text.replace(word, str(place)) for text in folders]
    with pytest.raises(InvalidInput, match=sentence):
        dataset_from_folders(tmp_path / "new", photos, folders)
    assert not (tmp_path / "new" / "dataset.yaml").exists()


def test_people_by_command(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = document(capsys, "annotate", "invite", dataset, "Anna", "--quota", 3)["link"]
    assert link.startswith("http://127.0.0.1:8600/#token=")
    owner = document(capsys, "annotate", "invite", dataset, "Olga", "--owner", "--base-url", "https://x.org")["link"]
    assert owner.startswith("https://x.org/owner#token=")
    for action, state in [("pause", "paused"), ("resume", "active"), ("revoke", "revoked"), ("forget", "forgotten")]:
        sure = ["--yes"] if action == "forget" else []
        name = document(capsys, "annotate", action, dataset, "Anna", *sure)["name"]
        people = document(capsys, "annotate", "people", dataset)["people"]
        about = {"name": name, "role": "annotator", "state": state, "qualification": None, "quota": 3, "done": 0}
        assert people[0] == about
    assert name.startswith("p-")
    code, out, _ = call(capsys, "annotate", "people", dataset)
    assert code == 0
    assert "Olga" in out
    code, _, err = call(capsys, "annotate", "forget", dataset, "Olga")  # not at a terminal, and nobody said yes
    assert (code, "add --yes" in err) == (2, True)
    code, _, err = call(capsys, "annotate", "invite", dataset, "olga")
    assert (code, "too like 'Olga'" in err) == (2, True)
    assert document(capsys, "annotate", "qualify", dataset, "Olga")["qualification"] == "passed"
    assert document(capsys, "annotate", "qualify", dataset, "Olga", "--again")["qualification"] is None
    code, _, err = call(capsys, "annotate", "pause", dataset, "Olgo")
    assert (code, "Did you mean 'Olga'" in err) == (2, True)


def test_gold_items_from_a_table(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "gold.csv"
    table.write_text("group,candidate,label,note\na,01,Positive,look at the sky\na,02,Negative,\n")
    assert document(capsys, "annotate", "gold", dataset, table, "--qualification") == {
        "groups": 1, "kind": "qualification", "remarks": []
    }  # fmt: skip
    store = Store(dataset / "annotations.sqlite")
    from goldeye.annotate.figures import gold_of

    expected = {"kind": "qualification", "expected": {"01": "Positive", "02": "Negative"}, "note": "look at the sky"}
    assert gold_of(store, "a") == expected
    assert document(capsys, "annotate", "gold", dataset, table, "--remove")["kind"] == "normal"
    assert gold_of(store, "a") is None
    store.close()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("group,label\na,Positive\n", "must have the columns group, candidate, label"),
        ("group,candidate,label\nz,01,Positive\n", "line 2: Unknown group 'z'"),
        ("group,candidate,label\na,07,Positive\n", "line 2: Unknown candidate of group 'a' '07'"),
        ("group,candidate,label\na,01,positive\n", "line 2: Unknown label 'positive'. Did you mean 'Positive'"),
        ("group,candidate,label\na,01,Positive\na,01,Negative\n", "line 3: candidate 01 of group 'a' has two labels"),
        ("group,candidate,label\na,01\n", "line 2: 2 cells for 3 columns"),
    ],
)
def test_tables_of_gold_items_that_do_not_fit(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, sentence: str
) -> None:
    table = tmp_path / "gold.csv"
    table.write_text(text)
    code, _, err = call(capsys, "annotate", "gold", dataset, table)
    assert code == 2
    assert sentence in err
    store = Store(dataset / "annotations.sqlite")
    assert store.log() == []  # all or none
    store.close()


def test_backup_by_command(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "annotate", "invite", dataset, "Anna")
    assert document(capsys, "annotate", "backup", dataset, "-o", tmp_path / "copy.sqlite")["answers"] == 0
    with sqlite3.connect(tmp_path / "copy.sqlite") as raw:
        assert raw.execute("SELECT name FROM person").fetchall() == [("Anna",)]
    raw.close()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--votes", "0"], "at least 1 vote"),
        (["--votes", "5000"], "Invalid value for '--votes': Input should be less than or equal to 1000, not 5000."),
        (["--votes", "many"], "--votes takes a number or the word adaptive"),
        (["--gold-rate", "5"], "Invalid value for '--gold-rate': Input should be less than or equal to 0.5, not 5.0."),
        (["--gold-rate", "nan"], "Invalid value for '--gold-rate'"),
        (["--repeat-rate", "-1"], "Invalid value for '--repeat-rate': Input should be greater than or equal to 0"),
        (["--pass-mark", "0"], "Invalid value for '--pass-mark': Input should be greater than 0, not 0.0."),
        (["--order", "backwards"], "Invalid value for '--order': Input should be 'random', 'disagreement'"),
        (["--order", "none"], "Invalid value for '--order': Input should be 'random', 'disagreement'"),
        (["--quota", "0"], "Invalid value for '--quota': Input should be greater than or equal to 1, not 0."),
        (["--quota", "9" * 20], "Invalid value for '--quota': Input should be less than or equal to 1000000"),
        (["--quota", "few"], "--quota takes a number of groups, or the word none"),
        (["--lease", "0"], "Invalid value for '--lease': Input should be greater than 0, not 0.0."),
        (["--lease", "inf"], "less than or equal to 10080"),
        (["--host", "0.0.0.0"], "needs --base-url"),
        (["--base-url", "ftp://x"], "--base-url takes an address"),
        (["--base-url", "http://[::1"], "--base-url takes an address"),
        (["--base-url", "https://x.org/labels"], "--base-url takes an address"),
        (["--database", "sqlite+aiosqlite:///x"], "is not a SQLite file"),
        (["--trusted-proxy", "proxy.example"], "--trusted-proxy takes an address"),
        (["--guideline", "none.md"], "There is no guideline"),
        (["--lr", "nowhere"], "nowhere"),
        (["--photos", "x"], "go together"),
        (["--database", "mysql://a:secret@b/c"], "is not a SQLite file"),
    ],
)
def test_serve_refuses(dataset: Path, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str) -> None:
    code, _, err = call(capsys, "annotate", dataset, "--port", 0, *options)
    assert code == 2
    assert sentence in err
    assert "secret" not in err
    assert len(err.splitlines()) <= 2, "a sentence and its hint"


def test_wrong_options_are_named_before_anything_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos, one = pictures(tmp_path / "photos"), pictures(tmp_path / "one", value=50)
    code, _, err = call(
        capsys, "annotate", tmp_path / "set", "--from", f"A={one}", "--photos", photos, "--quota", "0", "--port", 0
    )
    assert (code, "'--quota'" in err, (tmp_path / "set").exists()) == (2, True, False)


def test_an_invited_persons_quota_has_the_servers_limits(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for quota, limit in (("0", "greater than or equal to 1"), ("9" * 20, "less than or equal to 1000000")):
        code, _, err = call(capsys, "annotate", "invite", dataset, "Anna", "--quota", quota)
        assert (code, "'--quota'" in err, limit in err, "Traceback" in err) == (2, True, True, False)


@pytest.mark.parametrize("words", [("people",), ("pause", "Anna"), ("backup", "-o", "OUT"), ("invite", "Anna")])
def test_a_database_that_is_not_there_is_not_made(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    rest = [str(tmp_path / "copy") if word == "OUT" else word for word in words[1:]]
    code, _, err = call(capsys, "annotate", words[0], dataset, *rest, "--database", tmp_path / "typo.sqlite")
    assert code == 2
    assert "There is no annotation database" in err
    assert not (tmp_path / "typo.sqlite").exists()


def test_guideline_lr_and_address_are_remembered(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rules.md").write_text("# Our own rules")
    pictures(tmp_path / "small", ("a", "deep__b"), size=4)
    with served(dataset, "--guideline", tmp_path / "rules.md", "--lr", tmp_path / "small") as found:
        assert found["settings"]["guideline"] == str(tmp_path / "rules.md")
        address = found["address"]
    link = document(capsys, "annotate", "invite", dataset, "Anna")["link"]
    assert link.startswith(f"{address}/#token=")  # as it was last served
    with served(dataset) as found:
        client, who = sign_in(f"{found['address']}/#{link.partition('#')[2]}")
        assert who.json()["lr"]
        assert client.get("/api/guideline").json() == {"html": "<h1>Our own rules</h1>\n", "own": True}
    (tmp_path / "rules.md").unlink()
    code, _, err = call(capsys, "annotate", dataset, "--port", 0)
    assert (code, "There is no guideline" in err) == (2, True)
    with served(dataset, "--guideline", "none", "--lr", "none") as found:
        client, who = sign_in(f"{found['address']}/#{link.partition('#')[2]}")
        assert not who.json()["lr"]
        assert not client.get("/api/guideline").json()["own"]


def test_notes_are_joined_and_votes_that_are_there_are_told(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from goldeye.annotate.figures import gold_of

    store = Store(dataset / "annotations.sqlite")
    store.invite("Anna")
    app = dataset_app(Dataset.open(dataset), store)
    assigner = app.state.site.assigner
    work, _ = assigner.claim(1)
    for position in range(2):
        assigner.answer(1, work.id, position, "Positive", client_id=f"client-{position}", active_ms=5)
    table = tmp_path / "gold.csv"
    lines = ["group,candidate,label,note", f"{work.group},01,Positive,the sky", f"{work.group},02,Negative,the grass"]
    table.write_text("\n".join(lines))
    told = document(capsys, "annotate", "gold", dataset, table, "--qualification")["remarks"]
    assert ["1 of them have votes" in told[0], "1 people have begun" in told[1]] == [True, True]
    gold = gold_of(store, work.group)
    assert gold is not None
    assert gold["note"] == "the sky the grass"
    store.close()


def test_a_quota_can_be_taken_away_and_a_person_be_called_owner(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(capsys, "annotate", "invite", dataset, "owner")
    with served(dataset, "--quota", 5) as found:
        assert sign_in(found["owner_link"])[1].json()["name"] == "owner 2"
    with served(dataset, "--quota", "none") as found:
        assert found["settings"]["quota"] is None


def test_paths_of_any_letters(tmp_path: Path) -> None:
    """The owner's figures and exports read the store wherever it lies."""
    folder = tmp_path / "Bäume 100% & ?"
    dataset = dataset_from_folders(folder, pictures(tmp_path / "p"), [f"one={pictures(tmp_path / 'q')}"])
    store = Store(dataset.votes_url)
    app = dataset_app(dataset, store, settings=AnnotationSettings(votes=1))
    assigner, site = app.state.site.assigner, app.state.site
    store.invite("Anna")
    work, _ = assigner.claim(1)
    assigner.answer(1, work.id, 0, "Positive", client_id="client-1", active_ms=5)
    assert site.figures.overview(assigner.settings)["labels"]["annotations"]["total"]["Positive"] == 1
    site.export(tmp_path / "out", "csv", False)
    assert (tmp_path / "out" / "labels.csv").read_text().count(",Positive,") == 2  # given and final
    store.close()


def test_a_database_of_another_dataset_is_refused(dataset: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "a.sqlite")
    store.invite("Anna")
    opened = Dataset.open(dataset)
    app = dataset_app(opened, store)
    assert app.state.site.assigner.claim(1)[0] is not None
    dataset_from_folders(
        tmp_path / "other", pictures(tmp_path / "p", ("z",)), [f"one={pictures(tmp_path / 'q', ('z',))}"]
    )
    with pytest.raises(InvalidInput, match="belongs to another dataset"):
        dataset_app(Dataset.open(tmp_path / "other"), store)
    # Nor one of the same pictures with candidates of other names, even before anybody answered.
    dataset_from_folders(
        tmp_path / "again", tmp_path / "photos", [f"three={tmp_path / 'one'}", f"two={tmp_path / 'two'}"]
    )
    with pytest.raises(InvalidInput, match="belongs to another dataset"):
        dataset_app(Dataset.open(tmp_path / "again"), store)
    store.close()


def test_words_and_lr_inputs_reach_the_page(dataset: Path, tmp_path: Path) -> None:
    text = (dataset / "dataset.yaml").read_text()
    (dataset / "dataset.yaml").write_text(text.replace("negative: worse", "negative: spoiled"))
    small = pictures(tmp_path / "lr", ("a", "deep__b"), size=4)
    store = Store(tmp_path / "a.sqlite")
    with running_server(dataset_app(Dataset.open(dataset), store, lr=small, title="Leaves")) as base:
        client, answer = sign_in(f"{base}/#token={store.invite('Anna')}")
        who = answer.json()
        assert (who["title"], who["lr"], who["task"]["words"]["Negative"]) == ("Leaves", True, "spoiled")
        work = client.post("/api/next", json={}).json()
        assert client.get(work["lr"]).status_code == 200
    with pytest.raises(InvalidInput, match=r"no LR input for 1 groups, such as 'deep__b'"):
        dataset_app(Dataset.open(dataset), store, lr=pictures(tmp_path / "few", ("a",), size=4))
    for size in (16, 32):
        large = pictures(tmp_path / f"large{size}", ("a", "deep__b"), size=size)
        with pytest.raises(InvalidInput, match=rf"LR input .* has {size}x{size} pixels, and must be smaller"):
            dataset_app(Dataset.open(dataset), store, lr=large)
    store.close()


def test_addresses() -> None:
    assert Address().warning is None
    assert Address("0.0.0.0", 80, "https://labels.example.org/").warning is None
    plain = Address("0.0.0.0", 80, "http://192.168.1.20:8600")
    assert "unencrypted" in str(plain.warning)
    assert "192.168.1.20" in plain.hosts
    assert "0.0.0.0" not in plain.hosts


def test_settings_that_were_not_given_stay(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.sqlite")
    assert changed_settings(store, {"votes": None, "quota": 4}).quota == 4
    with pytest.raises(InvalidInput, match="In the annotation"):
        changed_settings(store, {"lease_minutes": 0})
    store.close()


def test_labels_read_a_store_on_postgresql(
    dataset: Path, postgresql_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two servers on one PostgreSQL store; the labels commands read it, and the owner's page shows the same."""
    with served(dataset, "--database", postgresql_database, "--votes", 1) as one:
        with served(dataset, "--database", postgresql_database) as two:
            link = document(capsys, "annotate", "invite", dataset, "Anna", "--database", postgresql_database)["link"]
            token = link.partition("#")[2]
            for number, server in enumerate((one, two)):
                client, _ = sign_in(f"{server['address']}/#{token}")
                work = client.post("/api/next", json={}).json()
                for position in range(2):
                    body = {
                        "client_id": f"client-{number}-{position}",
                        "assignment": work["assignment"],
                        "position": position,
                        "label": "Positive",
                        "active_ms": 5,
                    }
                    assert client.post("/api/vote", json=body).status_code == 200
            assert client.post("/api/next", json={}).json()["finished"]
        owner, _ = sign_in(one["owner_link"])
        shown = owner.get("/api/owner/overview").json()["labels"]
    code, out, err = call(capsys, "labels", "stats", dataset, "--database", postgresql_database, "--json")
    assert code == 0, err
    stats = json.loads(out)
    assert stats["annotations"]["total"] == {"Positive": 4, "Similar": 0, "Negative": 0}
    assert shown["annotations"] == stats["annotations"]
