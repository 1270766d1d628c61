"""The whole loop at its tiniest, through the functions behind `goldeye demo`: each stage's artefacts are checked."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from goldeye.dataset.groups import Dataset
from goldeye.dataset.labels import Label, finals
from goldeye.degrade import degrade_picture, get_pipeline
from goldeye.demo import ANNOTATORS, ENHANCERS, DemoSettings, run_demo
from goldeye.demo.annotators import ScriptedAnnotator
from goldeye.demo.photos import TEST
from goldeye.errors import InvalidInput
from goldeye.evaluate.metrics import psnr
from goldeye.images import find_images, image_size, matlab_resize, read_image, to_float, to_uint8
from goldeye.networks.weights import load_model
from goldeye.train.logging import read_metrics
from goldeye.upscale import upscale_picture

TINY = DemoSettings(
    side=160,
    patch_size=64,
    per_photo=4,
    least_gain_db=0,
    sr_settings=(
        "steps=4",
        "data.crop=32",
        "data.batch=2",
        "discriminator.settings={num_feat: 4}",
        "log_every=1",
    ),
    least_positive_groups=1,
    least_negative_groups=1,
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("demo") / "out"
    report = run_demo(output, settings=TINY, say=lambda line: None)
    assert report == output / "report.html"
    return output


def test_photos_differ_from_their_hidden_clean_copies(demo):
    for photo in find_images(demo / "photos"):
        clean = read_image(demo / "clean" / photo.name)
        assert 20 < psnr(read_image(photo), clean, crop_border=0) < 40


def test_every_photo_has_five_candidates_that_differ_from_it(demo):
    for photo in find_images(demo / "photos"):
        original = read_image(demo / "candidates" / "original" / photo.name)
        assert np.array_equal(original, read_image(photo))
        for name in (*ENHANCERS, "sharpened"):
            enhanced = read_image(demo / "candidates" / name / photo.name)
            assert enhanced.shape == original.shape
            assert np.abs(enhanced.astype(int) - original).mean() > 0.1, (name, photo.name)


def test_dataset_is_in_the_official_layout_and_split_by_photo(demo):
    dataset = Dataset.open(demo / "dataset")
    assert dataset.slots == ("01", "02", "03", "04", "05")
    splits = defaultdict(set)
    for group in dataset.groups:
        splits[group.source].add(group.split)
        photo = read_image(demo / "photos" / group.source)
        window = photo[group.y : group.y + 64, group.x : group.x + 64]
        assert np.array_equal(read_image(group.original), window)
        assert group.original.parent.name == "original"
    assert splits["coffee.png"] == {"test"}
    assert all(len(found) == 1 for found in splits.values())


def test_labels_equal_a_recomputation_from_the_raw_votes(demo):
    rows = sqlite3.connect(demo / "dataset" / "annotations.sqlite").execute(
        'SELECT assignment."group", vote.candidate, vote.label, assignment.person, vote.id '
        "FROM vote JOIN assignment ON vote.assignment = assignment.id ORDER BY vote.id"
    )
    last = {(group, candidate, person): label for group, candidate, label, person, _ in rows}
    votes = defaultdict(Counter)
    for (group, candidate, _), label in last.items():
        votes[group, candidate][label] += 1
    dataset = Dataset.open(demo / "dataset")
    assert len(votes) == 5 * len(dataset.groups)
    computed = finals(dataset)
    for (group, candidate), counts in votes.items():
        assert sum(counts.values()) == len(ANNOTATORS)
        label, most = counts.most_common(1)[0]
        expected = "Similar" if most == 1 else label
        assert computed[group][candidate].label == expected
    stats = json.loads((demo / "labels.json").read_text())
    totals = Counter(final.label for group in computed.values() for final in group.values())
    assert stats["final"]["total"] == {str(label): totals[label] for label in Label}
    assert stats["annotators"] == 3


def test_oversharpened_candidate_is_disliked(demo):
    dataset = Dataset.open(demo / "dataset")
    slot = next(slot for slot, name in dataset.enhancer_names.items() if name == "sharpened")
    labels = [group[slot].label for group in finals(dataset).values()]
    assert labels.count(Label.NEGATIVE) > len(labels) / 2


def test_permuting_the_candidates_permutes_the_labels(demo):
    dataset = Dataset.open(demo / "dataset")
    clean = {path.stem: read_image(path) for path in find_images(demo / "clean")}
    annotator = ScriptedAnnotator("scripted-1", clean)
    for group in dataset.groups[:3]:
        original = read_image(group.original)
        pictures = [read_image(path) for path in group.candidates.values()]
        order = [3, 0, 4, 1, 2]
        labels = annotator.labels(original, pictures)
        assert annotator.labels(original, [pictures[i] for i in order]) == [labels[i] for i in order]


def test_negative_term_is_logged_where_there_are_negatives_and_only_there(demo):
    with_negatives = read_metrics(demo / "runs" / "posneg")
    assert sum(row["negative"] for row in with_negatives) > 0
    assert all("negative" not in row for row in read_metrics(demo / "runs" / "original"))


def test_the_upscaled_picture_is_four_times_as_large(demo):
    height, width = image_size(demo / "photos" / f"{TEST[0]}.png")
    assert image_size(demo / "upscaled" / f"{TEST[0]}.png") == (4 * height, 4 * width)


def test_the_model_beats_bicubic_on_a_degraded_known_picture(demo):
    """On photos that no training saw, degraded with the preset that it was trained for."""
    model = load_model(str(demo / "runs" / "posneg"))
    ours, bicubic = [], []
    for number, path in enumerate(find_images(demo / "photos-test")):
        gt = read_image(path)
        lr, _ = degrade_picture(to_float(gt), get_pipeline("hggt"), np.random.default_rng(number), 4)
        ours.append(psnr(upscale_picture(model.module, to_uint8(lr), scale=4), gt, crop_border=4))
        bicubic.append(psnr(to_uint8(matlab_resize(lr, *gt.shape[:2])), gt, crop_border=4))
    assert np.mean(ours) > np.mean(bicubic)


def test_evaluations_are_on_disk_for_every_method_and_target(demo):
    for method in ("bicubic", "start", "original", "posneg"):
        for target in ("positives", "original", "clean"):
            document = json.loads((demo / "evaluation" / f"{method}-{target}.json").read_text())
            assert document["images"] > 0
            assert 5 < document["metrics"]["psnr"]["mean"] < 60
            assert document["metrics"]["psnr"]["definition"]["crop_border"] == 4


def test_the_report_is_self_contained_and_says_scripted(demo):
    page = (demo / "report.html").read_text()
    assert "scripted" in page
    assert "http://" not in page.replace("http://127.0.0.1", "")
    assert "https://" not in page
    assert page.count("data:image/") > 20
    for stage in (demo / "stages").iterdir():
        for command in json.loads(stage.read_text())["commands"]:
            assert command.split()[1] in page


def test_finished_stages_are_not_done_again(demo):
    stages = {path: path.stat().st_mtime_ns for path in (demo / "stages").iterdir()}
    lines: list[str] = []
    run_demo(demo, settings=TINY, say=lines.append)
    assert {path: path.stat().st_mtime_ns for path in (demo / "stages").iterdir()} == stages
    assert sum("done before" in line for line in lines) == 10
    with pytest.raises(InvalidInput, match="other settings"):
        run_demo(demo, settings=TINY.model_copy(update={"seed": 5}))
    with pytest.raises(InvalidInput, match="not a demo's folder"):
        run_demo(demo / "photos")


@pytest.mark.parametrize("stage", ["enhance", "select", "annotate", "evaluate"])
def test_a_demo_killed_before_a_stages_record_does_that_stage_again(demo, stage):
    """As kill -9 leaves it: the stage's files are there, its record and those after it are not."""
    before = json.loads((demo / "stages" / f"{stage}.json").read_text())["result"]
    (demo / "stages" / f"{stage}.json").unlink()
    run_demo(demo, settings=TINY, say=lambda line: None)
    assert json.loads((demo / "stages" / f"{stage}.json").read_text())["result"] == before
