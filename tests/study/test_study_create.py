"""Making a study: names, sizes, the draw, attention checks, study.yaml; and what is refused, by name."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import SIZE, make_folder, picture

from goldeye.annotate.store import Store
from goldeye.config import parse_yaml, to_yaml, validate
from goldeye.errors import ImageError, InvalidInput
from goldeye.images import read_image, write_image
from goldeye.images.match import match_pictures
from goldeye.study.create import create_study, parse_methods, pixelate
from goldeye.study.run import annotation_settings
from goldeye.study.settings import LEVELS, Study, StudySettings

NAMES = [f"photo {number}" for number in range(6)]


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Three methods, a reference and the LR: six pictures each."""
    found = {name: make_folder(tmp_path / name, NAMES, seed) for seed, name in enumerate(("A", "B", "C", "gt"))}
    found["lr"] = make_folder(tmp_path / "lr", NAMES, 9, (SIZE // 4, SIZE // 4))
    return found


def create(tmp_path: Path, folders: dict[str, Path], methods: str = "AB", **settings: Any) -> Study:
    create_study(tmp_path / "study", {name: folders[name] for name in methods}, **settings)
    return Study.open(tmp_path / "study")


def refusal(tmp_path: Path, methods: dict[str, Path], **settings: Any) -> str:
    """The sentence of a refusal, which leaves nothing behind."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InvalidInput) as refused:
        create_study(tmp_path / "study", methods, **settings)
    assert sorted(tmp_path.rglob("*")) == before
    assert refused.value.message.endswith(".")
    return refused.value.message


# What is made ---------------------------------------------------------------------------------------------------------


def test_a_study_of_pairs(tmp_path, folders):
    study = create(tmp_path, folders, "ABC", reference=folders["gt"], lr=folders["lr"])
    assert study.settings.votes == 12
    assert [method.folder for method in study.settings.methods] == ["../A", "../B", "../C"]
    assert len(study.items()) == 6 * 3
    groups = {group.id: group for group in study.groups()}
    assert len(groups) == 18 + 4
    group = groups["01-03/photo 2"]
    assert {key: path.resolve() for key, path in group.candidates.items()} == {
        "01": folders["A"] / "photo 2.png",
        "03": folders["C"] / "photo 2.png",
    }
    assert group.original.resolve() == folders["gt"] / "photo 2.png"
    assert group.lr.resolve() == folders["lr"] / "photo 2.png"
    assert sorted(path.name for path in (tmp_path / "study").iterdir()) == ["checks", "study.sqlite", "study.yaml"]
    study.refuse_changed_pictures()


def test_without_reference_a_pair_has_no_original(tmp_path, folders):
    study = create(tmp_path, folders)
    assert all(group.original is None and group.lr is None for group in study.groups())


def test_a_study_of_ratings(tmp_path, folders):
    study = create(tmp_path, folders, "AB", mos=True, reference=folders["gt"])
    assert study.settings.votes == 20
    assert len(study.items()) == 6 * 2
    groups = {group.id: group for group in study.groups()}
    assert list(groups["02/photo 0"].candidates) == ["02"]
    assert groups["02/photo 0"].original.name == "photo 0.png"
    assert len(LEVELS) == 6


def test_pictures_are_drawn_by_seed(tmp_path, folders):
    def drawn(place: str, seed: int) -> list[str]:
        create_study(tmp_path / place, {"A": folders["A"], "B": folders["B"]}, number=3, seed=seed, checks=1)
        return [picture.name for picture in Study.open(tmp_path / place).settings.pictures]

    one, again, others = drawn("one", 1), drawn("again", 1), [drawn(f"{seed}", seed) for seed in range(2, 8)]
    assert one == again == sorted(one)
    assert len(set(one)) == 3
    assert any(one != other for other in others)


def test_at_most_a_hundred_pictures_are_rated_unless_asked(tmp_path):
    names = [f"{number:03}" for number in range(103)]
    folders = {name: make_folder(tmp_path / name, names, seed, (8, 8)) for seed, name in enumerate(("A", "gt"))}
    made = create_study(tmp_path / "one", {"A": folders["A"]}, mos=True, reference=folders["gt"], checks=0)
    assert (made["pictures"], made["pictures_found"]) == (100, 103)
    made = create_study(tmp_path / "all", {"A": folders["A"]}, mos=True, reference=folders["gt"], checks=0, number=103)
    assert made["pictures"] == 103


def test_checks_of_pairs_are_pixelated_copies(tmp_path, folders):
    study = create(tmp_path, folders)
    assert len({check.picture for check in study.settings.checks}) == 4
    groups = {group.id: group for group in study.groups()}
    for number, check in enumerate(study.settings.checks, 1):
        candidates = groups[f"check/{number:02}"].candidates
        version = read_image(candidates["version"])
        assert (version == read_image(folders[study.method_names[check.slot]] / f"{check.picture}.png")).all()
        coarse = read_image(candidates["pixelated"])
        assert (coarse == pixelate(version)).all()
        assert np.abs(coarse.astype(int) - version).mean() > 4
        assert study.expected()[f"check/{number:02}"] == {"version": "Preferred"}
    store = Store(tmp_path / "study" / "study.sqlite", read_only=True)
    assert sum(entry.detail == "check/01: version=Preferred" for entry in store.log()) == 1
    store.close()


def test_checks_of_ratings_are_the_reference_and_pixelated_copies_of_it_in_turn(tmp_path, folders):
    study = create(tmp_path, folders, mos=True, reference=folders["gt"])
    assert [check.kind for check in study.settings.checks] == ["reference", "pixelated"] * 2
    groups = {group.id: group for group in study.groups()}
    assert groups["check/01"].candidates == {"reference": groups["check/01"].original}
    assert study.expected()["check/01"] == {"reference": "0"}
    assert study.expected()["check/02"] == {"pixelated": "5"}
    coarse = read_image(groups["check/02"].candidates["pixelated"])
    assert (coarse == pixelate(read_image(groups["check/02"].original))).all()


def test_pictures_that_pixelation_does_not_change_make_no_check(tmp_path):
    flat = np.full((SIZE, SIZE, 3), 128, np.uint8)
    methods = {}
    for name in "AB":
        methods[name] = tmp_path / name
        for number in range(3):
            write_image(methods[name] / f"{number}.png", flat if number else picture(ord(name)))
    made = create_study(tmp_path / "study", methods)
    assert made["checks"] == 1
    assert made["equal_versions"] == ["1", "2"], "the same file twice is worth knowing"
    with pytest.raises(InvalidInput, match="Only 1 of 2 attention checks"):
        create_study(tmp_path / "other", methods, checks=2)


@pytest.mark.parametrize(("height", "width", "side"), [(32, 20, 8), (512, 300, 8), (1280, 700, 20)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixelation_is_the_mean_of_each_block(height, width, side, dtype):
    given = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (height, width, 3), dtype)
    coarse = pixelate(given)
    assert coarse.dtype == dtype
    assert coarse.shape == given.shape
    for top, left in ((0, 0), (height // side * side - side, width // side * side)):
        block = (slice(top, top + side), slice(left, left + side))
        if given[block].size:
            assert np.ptp(coarse[block], axis=(0, 1)).max() == 0
            assert coarse[block][0, 0] == pytest.approx(given[block].mean(axis=(0, 1)), abs=1)


@pytest.mark.parametrize(("pictures", "checks", "every"), [(100, 4, 26), (6, 4, 2), (1, 1, 2), (40, 0, 0)])
def test_whoever_sees_all_items_sees_all_checks(tmp_path, pictures, checks, every):
    """The last check's turn comes before the items are used up."""
    names = [str(number) for number in range(pictures)]
    methods = {name: make_folder(tmp_path / name, names, seed, (16, 16)) for seed, name in enumerate("AB")}
    create_study(tmp_path / "study", methods, checks=checks)
    settings = annotation_settings(Study.open(tmp_path / "study"))
    assert settings.votes == 12
    assert settings.gold_rate == (1 / every if every else 0)
    assert every * checks <= max(pictures + checks, 2 * checks)


# Names ----------------------------------------------------------------------------------------------------------------


def test_a_suffix_common_to_a_folder_is_taken_off(tmp_path):
    base = [f"img_{number}" for number in range(3)]
    folders = {
        "A": make_folder(tmp_path / "A", [f"{name}_rrdb_x4" for name in base], 1),
        "B": make_folder(tmp_path / "B", [f"{name}_swin" for name in base], 2),
    }
    assert list(match_pictures(folders, {})) == base
    plain = {"gt": make_folder(tmp_path / "gt", [*base, "img_more"], 3)}
    found = match_pictures(folders, plain)
    assert list(found) == base
    assert found["img_1"] == {
        "A": tmp_path / "A" / "img_1_rrdb_x4.png",
        "B": tmp_path / "B" / "img_1_swin.png",
        "gt": tmp_path / "gt" / "img_1.png",
    }


def test_a_suffix_of_all_folders_stays_where_names_agree(tmp_path):
    folders = {name: make_folder(tmp_path / name, ["1_x4", "2_x4"], seed) for seed, name in enumerate("AB")}
    assert list(match_pictures(folders, {})) == ["1_x4", "2_x4"]


def test_folders_below_are_part_of_the_name(tmp_path):
    folders = {}
    for seed, name in enumerate("AB"):
        make_folder(tmp_path / name / "one", ["x_sr" if seed else "x"], seed)
        folders[name] = make_folder(tmp_path / name / "two", ["x_sr" if seed else "x"], seed).parent
    assert list(match_pictures(folders, {})) == ["one/x", "two/x"]


def test_every_mismatch_is_named(tmp_path, folders):
    (folders["B"] / "photo 3.png").unlink()
    write_image(folders["B"] / "other.png", picture(1))
    message = refusal(tmp_path, {"A": folders["A"], "B": folders["B"]})
    assert "'A' lacks 1 of 7 pictures: other" in message
    assert "'B' lacks 1 of 7 pictures: photo 3" in message
    (folders["gt"] / "photo 5.png").unlink()
    message = refusal(tmp_path, {"A": folders["A"], "C": folders["C"]}, reference=folders["gt"])
    assert message == "The folders do not hold the same pictures: 'the reference' lacks 1 of 6 pictures: photo 5."


def test_many_mismatches_are_counted(tmp_path, folders):
    extra = make_folder(tmp_path / "D", [*NAMES, *(f"more {number}" for number in range(8))], 5)
    message = refusal(tmp_path, {"A": folders["A"], "D": extra})
    assert "'A' lacks 8 of 14 pictures: more 0, more 1, more 2, more 3, more 4 and 3 more" in message


def test_one_name_twice_in_a_folder(tmp_path, folders):
    write_image(folders["A"] / "photo 1.jpg", picture(1))
    assert "have the same name" in refusal(tmp_path, {"A": folders["A"], "B": folders["B"]})


@pytest.mark.skipif(sys.platform != "linux", reason="a system with names of any bytes")
@pytest.mark.parametrize("name", [b"\xff.png", b"a\nb.png"])
def test_a_name_that_is_no_text(tmp_path, folders, name):
    os.rename(folders["A"] / "photo 1.png", os.fsencode(folders["A"] / "") + b"/" + name)  # noqa: PTH104 - bytes
    assert "characters that are no text" in refusal(tmp_path, {"A": folders["A"], "B": folders["B"]})


# What is refused ------------------------------------------------------------------------------------------------------


def test_one_method_is_no_pair(tmp_path, folders):
    assert "two methods" in refusal(tmp_path, {"A": folders["A"]})


def test_ratings_need_a_reference(tmp_path, folders):
    assert "--reference" in refusal(tmp_path, {"A": folders["A"]}, mos=True)


def test_unequal_sizes(tmp_path, folders):
    write_image(folders["B"] / "photo 2.png", picture(0, SIZE, SIZE + 1))
    message = refusal(tmp_path, {"A": folders["A"], "B": folders["B"]})
    assert message == "The versions of 'photo 2' differ in size: A 32x32, B 33x32."


@pytest.mark.parametrize("size", [(SIZE // 4, SIZE // 2), (5, 5), (2 * SIZE, 2 * SIZE)])
def test_lr_must_be_smaller_by_a_whole_factor(tmp_path, folders, size):
    write_image(folders["lr"] / "photo 4.png", picture(0, *size))
    message = refusal(tmp_path, {"A": folders["A"], "B": folders["B"]}, lr=folders["lr"])
    assert f"LR picture of 'photo 4' has {size[1]}x{size[0]}" in message


def test_folders_in_each_other_and_the_same_folder_twice(tmp_path, folders):
    inside = make_folder(folders["A"] / "deeper", NAMES, 7)
    assert "lie one in the other" in refusal(tmp_path, {"A": folders["A"], "B": inside})
    same = folders["B"] / ".." / "B"
    assert "the same folder" in refusal(tmp_path, {"B": folders["B"], "C": same})
    assert "choose a place outside" in _refused_output(folders["B"] / "study", {"B": folders["B"], "C": folders["C"]})


def _refused_output(output: Path, methods: dict[str, Path]) -> str:
    with pytest.raises(InvalidInput) as refused:
        create_study(output, methods)
    return refused.value.message


def test_the_reference_may_be_one_of_the_methods(tmp_path, folders):
    """Is the enhanced picture preferred to the original, with the original beside?"""
    study = create(tmp_path, {**folders, "A": folders["gt"]}, reference=folders["gt"])
    assert study.settings.methods[0].folder == study.settings.reference == "../gt"


def test_a_study_is_never_written_over_another(tmp_path, folders):
    create(tmp_path, folders)
    assert "there already" in refusal(tmp_path, {"A": folders["A"], "B": folders["B"]})
    (tmp_path / "empty").mkdir()
    create_study(tmp_path / "empty", {"A": folders["A"], "B": folders["B"]})


def test_more_pictures_than_there_are(tmp_path, folders):
    assert "7 pictures cannot be drawn: there are 6" in refusal(tmp_path, {n: folders[n] for n in "AB"}, number=7)


def test_a_damaged_picture_is_named_and_leaves_nothing(tmp_path, folders):
    (folders["A"] / "photo 0.png").write_bytes(b"no picture")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ImageError, match="photo 0"):
        create_study(tmp_path / "study", {"A": folders["A"], "B": folders["B"]})
    assert sorted(tmp_path.rglob("*")) == before


def test_an_interruption_leaves_nothing(tmp_path, folders, monkeypatch):
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr("goldeye.study.create.write_text", stop)
    with pytest.raises(KeyboardInterrupt):
        create_study(tmp_path / "study", {"A": folders["A"], "B": folders["B"]})
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("words", [["A"], ["=x"], ["A="], ["A=x", "A=y"], ["the LR=x"], ["a\nb=x"]])
def test_words_that_name_no_method(words):
    with pytest.raises(InvalidInput):
        parse_methods(words)


def test_a_title_is_text(tmp_path, folders):
    assert "title" in refusal(tmp_path, {name: folders[name] for name in "AB"}, title="a\x85b")
    assert create(tmp_path, folders, title="Which has better hair?").settings.title == "Which has better hair?"


def test_words_that_name_methods():
    assert parse_methods(["A=x", "B b=../y=z"]) == {"A": Path("x"), "B b": Path("../y=z")}


# study.yaml -----------------------------------------------------------------------------------------------------------


def test_a_changed_picture_is_refused_by_name(tmp_path, folders):
    study = create(tmp_path, folders, reference=folders["gt"], number=4)
    used = study.settings.pictures[0].name
    unused = next(name for name in NAMES if name not in [picture.name for picture in study.settings.pictures])
    write_image(folders["A"] / f"{unused}.png", picture(99))
    study.refuse_changed_pictures()
    write_image(folders["B"] / f"{used}.png", picture(99))
    (folders["gt"] / f"{used}.png").unlink()
    with pytest.raises(InvalidInput, match=rf"2 pictures of the study .*B/{used}\.png, .*gt/{used}\.png"):
        study.refuse_changed_pictures()


def test_a_study_moves_with_its_pictures(tmp_path, folders):
    (tmp_path / "here").mkdir()
    for name in "AB":
        folders[name] = folders[name].rename(tmp_path / "here" / name)
    create_study(tmp_path / "here" / "study", {name: folders[name] for name in "AB"})
    (tmp_path / "here").rename(tmp_path / "there")
    Study.open(tmp_path / "there" / "study").refuse_changed_pictures()


def test_folders_elsewhere_are_absolute(tmp_path, folders):
    create_study(tmp_path / "deep" / "study", {name: folders[name] for name in "AB"})
    study = Study.open(tmp_path / "deep" / "study")
    assert [method.folder for method in study.settings.methods] == [str(folders["A"]), str(folders["B"])]
    study.refuse_changed_pictures()


def test_a_folder_without_a_study(tmp_path):
    with pytest.raises(InvalidInput, match=r"no study in .*study\.yaml"):
        Study.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 2}, "format"),
        ({"colour": "red"}, "colour"),
        ({"votes": 0}, "votes"),
        ({"votes": 1001}, "votes"),
        ({"methods": []}, "needs 2 methods"),
        ({"kind": "rating"}, "reference"),
        ({"pictures": []}, "pictures"),
        ({"reference": "gt"}, "does not have the reference"),
        ({"checks": [{"picture": "nobody", "kind": "pixelated", "slot": "01", "file": "x.png"}]}, "nobody"),
        ({"checks": [{"picture": "photo 0", "kind": "pixelated", "file": "x.png"}]}, "photo 0"),
        ({"checks": [{"picture": "photo 0", "kind": "reference", "slot": "01"}]}, "photo 0"),
    ],
)
def test_a_study_file_that_cannot_be_used_is_one_sentence(tmp_path, folders, change, told):
    study = create(tmp_path, folders)
    file = tmp_path / "study" / "study.yaml"
    values = study.settings.model_dump(mode="json") | change
    file.write_text(repr(values).replace("None", "null"))  # YAML takes this form, too
    with pytest.raises(InvalidInput, match=told) as refused:
        Study.open(tmp_path / "study")
    assert "study.yaml" in refused.value.message


text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
used = st.fixed_dictionaries({"file": text, "sha256": st.text("0123456789abcdef", min_size=64, max_size=64)})


@st.composite
def studies(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["pair", "rating"]))
    names = draw(st.lists(text, min_size=2, max_size=4, unique=True))
    slots = [f"{number:02}" for number in range(1, len(names) + 1)]
    reference = draw(text) if kind == "rating" else draw(st.none() | text)
    lr = draw(st.none() | text)
    pictures = []
    for name in draw(st.lists(text, min_size=1, max_size=4, unique=True)):
        more = {key: draw(used) for key, folder in (("reference", reference), ("lr", lr)) if folder is not None}
        pictures.append({"name": name, "versions": {slot: draw(used) for slot in slots}, **more})
    return {
        "kind": kind,
        "title": draw(text),
        "votes": draw(st.integers(1, 1000)),
        "seed": draw(st.integers(0, 2**63)),
        "methods": [{"slot": s, "name": n, "folder": draw(text)} for s, n in zip(slots, names, strict=True)],
        "reference": reference,
        "lr": lr,
        "exclude": draw(st.lists(text, max_size=2)),
        "pictures": pictures,
    }


@given(studies())
def test_study_yaml_keeps_everything(values):
    settings = validate(StudySettings, values, "the study")
    assert validate(StudySettings, parse_yaml(to_yaml(settings), "study.yaml"), "study.yaml") == settings
