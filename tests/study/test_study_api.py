"""A whole study: created, served, judged over HTTP by what is seen in the pictures, and what the results say of it."""

from __future__ import annotations

import io
import itertools
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from scripted import NOON, judge_all, make_folder, picture

from goldeye.annotate.assign import Assigner
from goldeye.annotate.server import running_server
from goldeye.dataset.groups import DatasetSettings, DatasetWriter
from goldeye.errors import InvalidInput
from goldeye.images import write_image
from goldeye.study.create import create_study
from goldeye.study.results import read_study_votes
from goldeye.study.run import StudyStore, annotation_settings, folded, open_study, results_of, study_app
from goldeye.study.settings import Study
from stored_votes import store_votes

IDS = itertools.count()
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # reading the system's certificates for each client takes long
RED = {"A": 0, "B": 120, "gt": 240}


def marked_folder(folder: Path, method: str, count: int) -> Path:
    """Noise in green and blue; red says which method made it, and is the same everywhere."""
    for number in range(count):
        pixels = picture(number)
        pixels[..., 0] = RED[method]
        write_image(folder / f"photo-{number}.png", pixels)
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    return {name: marked_folder(tmp_path / name, name, 6) for name in RED}


class Seen:
    """A picture as it arrives in the browser: which method made it, and whether it is a coarse copy."""

    def __init__(self, content: bytes) -> None:
        pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
        self.method = next(name for name, red in RED.items() if abs(pixels[0, 0, 0] - red) < 10)
        self.coarse = bool((pixels[:8, :8] == pixels[0, 0]).all())


Judge = Callable[[list[Seen]], tuple[int, str]]
"""(what is seen from left to right) → (position, label)."""


def judge_by_eye(base: str, token: str, judge: Judge) -> int:
    """Work until nothing is left; returns how many groups that were."""
    with httpx.Client(base_url=base, headers={"X-Goldeye": "1"}, verify=NO_TLS) as http:
        assert http.post("/api/session", json={"token": token}).status_code == 200
        done = 0
        while not (work := http.post("/api/next", json={}).json())["finished"]:
            seen = [Seen(http.get(address).content) for address in work["candidates"]]
            position, label = judge(seen)
            body = {
                "client_id": f"client-{next(IDS):08}",
                "assignment": work["assignment"],
                "position": position,
                "label": label,
                "active_ms": 1500,
            }
            answer = http.post("/api/vote", json=body)
            assert answer.status_code == 200, answer.text
            assert answer.json()["complete"]
            done += 1
    return done


@contextmanager
def served(path: Path) -> Iterator[tuple[str, StudyStore]]:
    with open_study(path) as (study, store), running_server(study_app(study, store)) as base:
        yield base, store


def better(seen: list[Seen], best: str) -> tuple[int, str]:
    """The position of the picture that is not coarse, then of the best method."""
    order = sorted(range(2), key=lambda n: (seen[n].coarse, seen[n].method != best))
    return order[0], "Preferred"


def test_a_study_of_pairs_over_http(tmp_path, folders):
    """Ada and Bo prefer A, Cy the coarse copies and B; Di comes when all pairs are judged."""
    create_study(tmp_path / "study", {"A": folders["A"], "B": folders["B"]}, reference=folders["gt"], votes=3)
    with served(tmp_path / "study") as (base, store):
        people: dict[str, Judge] = {
            "Ada": lambda seen: better(seen, "A"),
            "Bo": lambda seen: better(seen, "A"),
            "Cy": lambda seen: (1 - better(seen, "A")[0], "Preferred"),
        }
        for name, judge in people.items():
            assert judge_by_eye(base, store.invite(name), judge) == 6 + 4, "all pairs, and all checks among them"
        assert judge_by_eye(base, store.invite("Di"), people["Ada"]) <= 4, "three people have judged each pair"
        overview = _overview(base, store)
    assert overview["study"]["comparisons"][0]["a_preferred"] == 12

    document = results_of(tmp_path / "study", names=True, bootstrap=100)
    (row,) = document["comparisons"]
    assert (row["a"], row["b"], row["a_preferred"], row["b_preferred"]) == ("A", "B", 12, 6)
    assert document["votes"] == document["votes_wanted"] == 18
    people_found = document["per_person"]
    assert {name: people_found[name]["votes"] for name in ("Ada", "Bo", "Cy")} == {"Ada": 6, "Bo": 6, "Cy": 6}
    assert people_found["Ada"]["checks"] == {"right": 4, "total": 4}
    assert people_found["Cy"]["checks"] == {"right": 0, "total": 4}
    assert document["checks"]["failed"] == ["Cy"]
    assert document["median_seconds"] == 1.5
    without = results_of(tmp_path / "study", bootstrap=0, exclude_flagged=True)
    assert (without["comparisons"][0]["a_preferred"], without["comparisons"][0]["b_preferred"]) == (12, 0)
    assert all(name.startswith("p-") for name in without["per_person"]), "names stay here unless asked for"
    assert len(without["excluded"]) == 1


def _overview(base: str, store: StudyStore) -> Any:
    with httpx.Client(base_url=base, headers={"X-Goldeye": "1"}, verify=NO_TLS) as http:
        http.post("/api/session", json={"token": store.invite("owner", "owner")})
        return http.get("/api/owner/overview").json()


def test_a_study_of_ratings_over_http(tmp_path, folders):
    create_study(tmp_path / "study", {"A": folders["A"], "B": folders["B"]}, mos=True, reference=folders["gt"])

    def careful(seen: list[Seen]) -> tuple[int, str]:
        (one,) = seen
        return 0, "4" if one.coarse else {"A": "1", "B": "3", "gt": "0"}[one.method]

    with served(tmp_path / "study") as (base, store):
        assert judge_by_eye(base, store.invite("Ada"), careful) == 12 + 4
        judge_by_eye(base, store.invite("Bo"), lambda seen: (0, "0"))
        overview = _overview(base, store)
    assert overview["study"]["lower_is_better"]
    document = results_of(tmp_path / "study", names=True, bootstrap=100)
    first, second = document["ratings"]
    assert (first["mean"], second["mean"]) == (0.5, 1.5)
    assert first["levels"] == [6, 6, 0, 0, 0, 0]
    assert document["per_person"]["Ada"]["checks"] == {"right": 4, "total": 4}
    assert document["checks"]["failed"] == ["Bo"], "the coarse copies were not Perfect"


def test_sides_are_drawn_for_each_person_and_pair(tmp_path):
    """Over 40 people and 50 pairs each method is on the left about half the time, and nobody has another's sides."""
    names = [str(number) for number in range(50)]
    methods = {name: make_folder(tmp_path / name, names, seed, (16, 16)) for seed, name in enumerate("AB")}
    create_study(tmp_path / "study", methods, checks=0)
    with open_study(tmp_path / "study") as (study, store):
        assigner = Assigner(store, study.groups(), annotation_settings(study), task=study.task)
        sides = np.array(
            [
                [assigner.shown_order(person, group)[0] == "01" for group in assigner.groups.values()]
                for person in range(1, 41)
            ]
        )
    assert abs(sides.mean() - 0.5) < 0.06  # 5 standard deviations
    assert len({row.tobytes() for row in sides}) == 40
    assert (abs(sides.mean(axis=1) - 0.5) < 0.4).all()
    assert (abs(sides.mean(axis=0) - 0.5) < 0.45).all()


def test_a_changed_picture_is_not_served(tmp_path, folders):
    create_study(tmp_path / "study", {"A": folders["A"], "B": folders["B"]})
    write_image(folders["A"] / "photo-3.png", picture(77))
    with open_study(tmp_path / "study") as (study, store), pytest.raises(InvalidInput, match=r"photo-3\.png"):
        study_app(study, store)


def test_another_database_gets_the_checks_too(tmp_path, folders):
    create_study(tmp_path / "study", {"A": folders["A"], "B": folders["B"]}, votes=1)
    database = f"sqlite:///{tmp_path / 'other.sqlite'}"
    with open_study(tmp_path / "study", database) as (study, store):
        study_app(study, store)
    judge_all(
        Study.open(tmp_path / "study"),
        {"Ada": lambda group, order: {"version" if "version" in order else "01": "Preferred"}},
        database=database,
    )
    document = results_of(tmp_path / "study", database=database, bootstrap=0)
    assert document["comparisons"][0]["a_preferred"] == 6
    assert document["checks"]["right"] == document["checks"]["answered"] == 4
    assert results_of(tmp_path / "study", bootstrap=0)["votes"] == 0


def test_only_complete_votes_that_count_are_read(tmp_path, folders):
    """A preference that was taken back does not count, and one that was changed counts as it is now."""
    create_study(tmp_path / "study", {"A": folders["A"], "B": folders["B"]}, checks=0)
    with open_study(tmp_path / "study") as (study, store):
        assigner = Assigner(store, study.groups(), annotation_settings(study), task=study.task)
        store.invite("Ada")
        person = store.people()[0].id
        for number, labels in enumerate(("01", "01 02", "01 -")):
            work, _ = assigner.claim(person)
            assert work is not None
            for turn, slot in enumerate(labels.split()):
                place = work.order.index("01" if slot == "-" else slot)
                label = None if slot == "-" else "Preferred"
                assigner.answer(person, work.id, place, label, client_id=f"client-{number}-{turn}", active_ms=1000)
        found = read_study_votes(study, store, names=True)
    assert sorted(vote.answer for vote in found.votes) == ["01", "02"]
    assert sorted(vote.seconds for vote in found.votes) == [1, 2]
    assert all(vote.time > NOON and vote.person == "Ada" for vote in found.votes)


# People who annotated the training set --------------------------------------------------------------------------------


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    """A dataset of one group that "Ada  Lovelace" annotated."""
    writer = DatasetWriter(tmp_path / "train set", DatasetSettings())
    writer.add("x", picture(1), {"01": picture(2)}, source="x", source_sha256="0" * 64, y=0, x=0, scores={})
    dataset = writer.finish({"x": "train"})
    group = dataset.groups[0].id
    store_votes(tmp_path / "train set" / "annotations.sqlite", {"Ada Lovelace": {group: {"01": "Positive"}}})
    return dataset.path


@pytest.mark.parametrize("name", ["Ada Lovelace", "ada lovelace", "AdaLovelace", " ADA  LOVELACE "])
def test_annotators_of_an_excluded_dataset_are_refused(tmp_path, folders, annotated, name):
    create_study(tmp_path / "study", {"A": folders["A"], "B": folders["B"]}, exclude=[annotated])
    with open_study(tmp_path / "study") as (_, store):
        with pytest.raises(InvalidInput, match="annotated 'train set' and cannot take part"):
            store.invite(name)
        store.invite("Ada Byron")
        assert [person.name for person in store.people()] == ["Ada Byron"]


def test_the_owners_page_refuses_them_too(tmp_path, folders, annotated):
    create_study(tmp_path / "study", {"A": folders["A"], "B": folders["B"]}, exclude=[annotated])
    with served(tmp_path / "study") as (base, store):
        with httpx.Client(base_url=base, headers={"X-Goldeye": "1"}, verify=NO_TLS) as http:
            http.post("/api/session", json={"token": store.invite("Owen", "owner")})
            answer = http.post("/api/owner/people", json={"name": "ada lovelace"})
            assert answer.status_code == 422
            assert "annotated 'train set'" in answer.json()["error"]["message"]
            assert http.post("/api/owner/people", json={"name": "Bo"}).status_code == 200
        assert [person.name for person in store.people()] == ["Owen", "Bo"]


def test_who_annotated_later_is_flagged_in_the_results(tmp_path, folders, annotated):
    create_study(tmp_path / "study", {"A": folders["A"], "B": folders["B"]}, exclude=[annotated], checks=0)
    judge = {"Bo": lambda group, order: {"01": "Preferred"}}
    judge_all(Study.open(tmp_path / "study"), judge)
    assert results_of(tmp_path / "study", bootstrap=0)["flagged"] == []
    (annotated / "annotations.sqlite").unlink()
    store_votes(annotated / "annotations.sqlite", {"BO": {"x": {"01": "Positive"}}})
    document = results_of(tmp_path / "study", bootstrap=0, names=True)
    assert document["per_person"]["Bo"]["flags"] == ["annotated 'train set'"]
    assert results_of(tmp_path / "study", bootstrap=0, exclude_flagged=True)["votes"] == 0
    annotated.rename(tmp_path / "gone")
    document = results_of(tmp_path / "study", bootstrap=0)
    assert document["flagged"] == []
    assert "could not be checked" in document["notes"][0]


def test_a_dataset_without_a_store_cannot_be_excluded(tmp_path, folders, annotated):
    (annotated / "annotations.sqlite").unlink()
    with pytest.raises(InvalidInput, match="no annotation store"):
        create_study(tmp_path / "study", {"A": folders["A"], "B": folders["B"]}, exclude=[annotated])


def test_names_are_compared_without_case_and_spaces():
    assert folded(" Ada\u00a0LOVELACE ") == folded("adalovelace")
    assert folded("Zoe\u0308") == folded("ZOË")
    assert folded("Strauß") == folded("STRAUSS")
    assert folded("Ada") != folded("Adam")
