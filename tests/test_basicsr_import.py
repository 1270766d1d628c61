"""`goldeye recipes import`: the files of each project become the recipes of their papers, and no key gets lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import option_files
from goldeye.basicsr import import_file, import_options
from goldeye.basicsr.options import Options, read_yaml
from goldeye.cli import run
from goldeye.config import TrainConfig, load_recipe
from goldeye.degrade import PRESETS, get_pipeline
from goldeye.errors import InvalidInput

FILES: dict[str, tuple[Callable[[], dict[str, Any]], str | None]] = {
    "esrgan": (option_files.esrgan, None),
    "real_esrgan": (option_files.real_esrgan, None),
    "real_esrnet": (option_files.real_esrnet, None),
    "ldl_synthetic": (option_files.ldl_synthetic, None),
    "ldl_real_world": (option_files.ldl_real_world, None),
    "hggt": (option_files.hggt, "RealESRGANModel"),
    "enhancer": (option_files.enhancer, "RealESRGANModel"),
}


def brought(
    tmp_path: Path, options: dict[str, Any] | str, like: str | None = None
) -> tuple[TrainConfig, dict[str, Any]]:
    """The recipe as `goldeye train` reads it, and the account of the keys."""
    source = option_files.write(tmp_path / "options.yml", options)
    found = import_file(source, tmp_path / "mine.yaml", like=like)
    return load_recipe(str(tmp_path / "mine.yaml")), found


def keys(found: dict[str, Any], kind: str) -> set[str]:
    return {row["key"] for row in found[kind]}


def flat(options: dict[str, Any], prefix: str = "") -> list[str]:
    names = []
    for key, value in options.items():
        names += flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return names


@pytest.mark.parametrize("name", FILES)
def test_every_key_is_accounted_for_once(tmp_path, name):
    make, like = FILES[name]
    _, found = brought(tmp_path, make(), like)
    listed = [row["key"] for kind in ("mapped", "ignored", "unmapped") for row in found[kind]]
    assert sorted(listed) == sorted(flat(make()))
    json.dumps(found, allow_nan=False)


def test_esrgan(tmp_path):
    """REFERENCE §4: ESRGAN's row. Its model compares relativistically, though gan_type says vanilla."""
    config, found = brought(tmp_path, option_files.ESRGAN)
    assert keys(found, "unmapped") == set()
    assert (config.method, config.scale, config.steps, config.seed, config.ema) == ("gan", 4, 400_000, 10, 0.999)
    assert (config.generator.architecture, config.generator.settings) == ("rrdb", {})
    assert config.generator.init == "weights/psnr.pth"
    assert config.discriminator
    assert config.discriminator.architecture == "vgg-128"
    data = config.data
    assert (str(data.path), str(data.lr_path), data.source) == ("data/DIV2K/hr", "data/DIV2K/lr_x4", "pairs")
    assert (data.crop, data.batch, data.augment, data.workers) == (128, 16, "flip+rotate", 6)
    assert str(data.meta_info) == "data/DIV2K/list.txt"
    losses = config.losses
    assert losses.perceptual
    assert losses.adversarial
    assert (losses.pixel, losses.perceptual.weight, losses.adversarial.weight) == (0.01, 1, 0.005)
    assert (losses.perceptual.layers, losses.adversarial.kind) == ("conv5_4", "ragan")
    optimizer = config.optimizer
    assert (optimizer.lr, optimizer.betas, optimizer.gamma) == (1e-4, (0.9, 0.99), 0.5)
    assert optimizer.milestones == (50_000, 100_000, 200_000, 300_000)
    assert (config.log_every, config.checkpoint_every, config.accumulate) == (100, 5000, 1)
    assert config.validation
    assert (config.validation.every, config.validation.metrics) == (5000, ("psnr",))
    assert {name: (str(s.gt), str(s.lr)) for name, s in config.validation.sets.items()} == {
        "Set14": ("data/Set14/hr", "data/Set14/lr")
    }


def test_real_esrgan(tmp_path):
    config, found = brought(tmp_path, option_files.real_esrgan())
    assert (found["degradation"], keys(found, "unmapped")) == ("real-esrgan", set())
    assert (config.method, config.data.source, config.data.degradation, config.data.usm) == (
        "gan",
        "photos",
        "real-esrgan",
        True,
    )
    assert (config.data.crop, config.data.batch, config.accumulate, config.data.augment) == (256, 12, 4, "flip")
    assert config.losses.perceptual
    assert config.losses.adversarial
    assert (config.losses.perceptual.layers, config.losses.adversarial.kind) == ("five", "vanilla")
    assert config.discriminator
    assert config.discriminator.architecture == "unet-sn"
    assert [path.name for path in tmp_path.iterdir() if "degradation" in path.name] == []


def test_real_esrnet_is_pixel_training_against_sharpened_targets(tmp_path):
    config, found = brought(tmp_path, option_files.real_esrnet())
    assert (config.method, config.discriminator, config.data.usm, config.optimizer.lr) == ("pixel", None, True, 2e-4)
    assert (config.data.degradation, keys(found, "unmapped")) == ("real-esrgan", set())
    assert config.optimizer.gamma == 0.1  # torch's and BasicSR's, since the file has none


def test_ldl_synthetic_is_the_shipped_recipe(tmp_path):
    config, found = brought(tmp_path, option_files.ldl_synthetic())
    ours = load_recipe("ldl/rrdb")
    assert (config.method, config.losses, config.discriminator) == ("ldl", ours.losses, ours.discriminator)
    assert (config.data.crop, config.data.batch, config.data.augment) == (128, 16, "flip+rotate")
    assert (config.steps, config.ema, config.accumulate) == (300_000, 0.999, 4)
    assert keys(found, "unmapped") == set()


def test_ldl_real_world(tmp_path):
    config, _ = brought(tmp_path, option_files.ldl_real_world())
    assert (config.method, config.data.degradation, config.data.batch) == ("ldl", "real-esrgan", 4)
    assert config.losses.adversarial
    assert config.losses.artifact
    assert (config.losses.pixel, config.losses.adversarial.kind, config.losses.artifact.weight) == (0.01, "vanilla", 1)


def test_hggt_with_a_pipeline_beside_the_recipe(tmp_path):
    """Its code's grey-noise probability is .2 (REFERENCE §1.1), so that this is not the preset of the paper."""
    config, found = brought(tmp_path, option_files.hggt(), "RealESRGANModel")
    ours = load_recipe("hggt/rrdb-posneg")
    assert (config.method, config.losses, config.optimizer) == ("hggt", ours.losses, ours.optimizer)
    assert (config.data.source, config.data.target, config.data.usm) == ("dataset", "positive+negative", False)
    assert config.generator.architecture == "rrdb-ps"
    assert keys(found, "unmapped") == {"datasets.train.type", "datasets.train.blur_kernel_size"}
    assert "a labelled dataset" in found["unmapped"][0]["meaning"]
    assert config.data.degradation == found["degradation"] == str(tmp_path / "mine-degradation.yaml")
    pipeline = get_pipeline(found["degradation"])
    paper = PRESETS["hggt"]
    assert [step.step for step in pipeline.steps] == [step.step for step in paper.steps]
    assert [ours for ours, theirs in zip(pipeline.steps, paper.steps, strict=True) if ours != theirs] == [
        paper.steps[2].model_copy(update={"grey": 0.2})
    ]


def test_enhancer_keeps_the_size_and_is_a_preset(tmp_path):
    config, found = brought(tmp_path, option_files.enhancer(), "RealESRGANModel")
    ours = load_recipe("hggt/enhance-rcan-noise")
    assert (config.generator.architecture, config.generator.settings) == ("rcan-x1", {})
    assert (config.scale, config.ema, config.data.degradation) == (1, 0, "hggt-enhance-noise")
    assert (config.data.crop, config.data.batch, config.data.augment) == (96, 4, "flip+rotate")
    assert config.losses == ours.losses
    assert keys(found, "unmapped") == {"datasets.train.type", "datasets.train.blur_kernel_size"}


def changed(path: str, value: Any, make: Callable[[], dict[str, Any]] = option_files.esrgan) -> dict[str, Any]:
    """Options with one key set, and a small network, which is quick to try."""
    options = make()
    options["network_g"]["num_block"] = 1
    *parents, last = path.split(".")
    place = options
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    return options


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("train.optim_g.type", "AdamW", "Adam, which was taken"),
        ("train.optim_g.weight_decay", 0.01, "weight decay"),
        ("train.optim_d.lr", 4e-4, "both have lr 0.0001"),
        ("train.warmup_iter", 2000, "starts at the full rate"),
        ("train.net_d_init_iters", 1000, "alone"),
        ("train.net_d_iters", 2, "every so many steps"),
        ("train.pixel_opt.type", "CharbonnierLoss", "L1 was taken"),
        ("train.pixel_opt.reduction", "sum", "adapt the weight"),
        ("train.gan_opt.gan_type", "hinge", "ragan was taken"),
        ("train.gan_opt.real_label_val", 0.9, "smoothed labels"),
        ("train.perceptual_opt.criterion", "fro", "L1"),
        ("train.perceptual_opt.style_weight", 1, "Gram"),
        ("train.perceptual_opt.vgg_type", "vgg16", "VGG19"),
        ("train.perceptual_opt.layer_weights.conv1_2", 0.5, "five was taken"),
        ("train.grad_clip", 0.5, "not known"),
        ("path.resume_state", "experiments/x/10.state", "cannot be continued"),
        ("path.strict_load_g", False, "must fit"),
        ("datasets.train.filename_tmpl", "{}x4", "same names"),
        ("datasets.train.type", "SomebodysDataset", "pairs of LR and GT"),
        ("datasets.train.dataroot_gt", "data/DIV2K.lmdb", "LMDB"),
        ("datasets.train.dataroot_lq", "data/DIV2K_x4.lmdb", "LMDB"),
        ("datasets.train.use_hflip", False, "all eight"),
        ("datasets.val.filename_tmpl", "{}x4", "names of the LR"),
        ("val.metrics.psnr.crop_border", 0, "leaves out 4 pixels"),
        ("val.metrics.niqe", {"type": "calculate_niqe", "crop_border": 4}, "metric"),
    ],
)
def test_what_cannot_be_mapped_is_named_and_the_rest_is_done(tmp_path, path, value, says):
    config, found = brought(tmp_path, changed(path, value))
    meanings = {row["key"]: row["meaning"] for row in found["unmapped"]}
    key = next(key for key in meanings if path in key or key.endswith("use_rot"))
    assert says in meanings[key]
    assert config.steps == 400_000
    assert f"#   {key}: " in (tmp_path / "mine.yaml").read_text()  # people who read the recipe see it, too


def test_a_cosine_schedule_leaves_a_constant_rate(tmp_path):
    schedule = {"type": "CosineAnnealingRestartLR", "periods": [250000], "restart_weights": [1], "eta_min": 1e-7}
    config, found = brought(tmp_path, changed("train.scheduler", schedule))
    assert config.optimizer.milestones == ()
    assert keys(found, "unmapped") == {f"train.scheduler.{key}" for key in schedule}


def test_sharpening_that_no_setting_says_is_named(tmp_path):
    config, found = brought(tmp_path, changed("gan_gt_usm", True, option_files.real_esrgan))
    assert config.data.usm is True
    assert keys(found, "unmapped") == {"l1_gt_usm", "percep_gt_usm", "gan_gt_usm"}


def test_a_mean_squared_error_and_an_absent_pixel_term(tmp_path):
    config, _ = brought(tmp_path, changed("train.pixel_opt.type", "MSELoss"))
    assert (config.losses.pixel, config.losses.pixel_kind) == (0.01, "mse")
    (tmp_path / "mine.yaml").unlink()
    options = option_files.esrgan()
    del options["train"]["pixel_opt"]
    options["network_g"]["num_block"] = 1
    assert brought(tmp_path, options)[0].losses.pixel == 0


@pytest.mark.parametrize(
    ("network", "architecture", "settings_"),
    [
        ({"type": "RRDBNet", "num_feat": 32, "scale": 2}, "rrdb-x2", {"num_feat": 32}),
        ({"type": "MSRResNet", "num_block": 8, "upscale": 4}, "srresnet", {"num_block": 8}),
        ({"type": "SRVGGNetCompact", "num_conv": 32}, "compact", {}),
        ({"type": "SRVGGNetCompact"}, "compact", {"num_conv": 16}),  # their default
        ({"type": "RCAN", "num_block": 20}, "rcan", {}),
        ({"type": "RCAN"}, "rcan", {"num_block": 16}),
        (
            {
                "type": "SwinIR",
                "upscale": 4,
                "img_size": 64,
                "window_size": 8,
                "embed_dim": 240,
                "mlp_ratio": 2,
                "depths": [6] * 9,
                "num_heads": [8] * 9,
                "upsampler": "nearest+conv",
                "resi_connection": "3conv",
            },
            "swinir-l",
            {},
        ),
        (
            {
                "type": "SwinIR",
                "upscale": 4,
                "img_size": 48,
                "window_size": 8,
                "embed_dim": 180,
                "mlp_ratio": 2,
                "depths": [6] * 6,
                "num_heads": [6] * 6,
                "upsampler": "pixelshuffle",
            },
            "swinir-classical",
            {},
        ),
        ({"type": "ELAN", "m_elan": 4, "c_elan": 60}, "elan", {"m_elan": 4, "c_elan": 60}),
    ],
)
def test_networks(tmp_path, network, architecture, settings_):
    options = option_files.esrgan() | {"network_g": network}
    options["scale"] = network.get("scale", network.get("upscale", 4))
    config, found = brought(tmp_path, options)
    assert (config.generator.architecture, config.generator.settings) == (architecture, settings_)
    assert not [key for key in keys(found, "unmapped") if key.startswith("network_g")]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (changed("model_type", "VideoRecurrentModel"), "VideoRecurrentModel"),
        (changed("network_g.type", "HAT"), "network HAT"),
        (changed("network_d.type", "PatchGAN3D"), "PatchGAN3D"),
        (changed("network_g.num_feat", "wide"), "network_g makes no network"),
        (changed("scale", 2), "network_g makes scale 4"),
        (changed("train.total_iter", "many"), "train.total_iter should be a number, not many"),
        (changed("train.total_iter", 1.5), "a whole number"),
        (changed("train.total_iter", None), "lacks train.total_iter"),
        (changed("train.optim_g.lr", float("nan")), "optim_g.lr should be a number"),
        (changed("train.optim_g.lr", -1), "optimizer.lr"),
        (changed("train.optim_g.lr", True), "should be a number"),
        (changed("train.ema_decay", 2), "ema"),
        (changed("datasets.train.gt_size", 130), "multiple of the scale 4"),
        (changed("datasets.train.gt_size", None), "lacks datasets.train.gt_size"),
        (changed("datasets.train.use_hflip", "yes please"), "true or false"),
        (changed("datasets.train.dataroot_lq", None), "neither LR pictures"),
        (changed("datasets.train", None), "no data to train on"),
        (changed("train.gan_opt", None), "lacks train.gan_opt"),
        (changed("network_d", None), "lacks network_d.type"),
        (changed("network_g", ["RRDBNet"]), "'network_g' should hold options"),
        (changed("resize_range", [1.5, 0.15], option_files.real_esrgan), "its degradation"),
        (changed("resize_prob", [0.5, 0.5], option_files.real_esrgan), "resize_prob should be 3 numbers"),
        (changed("resize_prob", [0, 0, 0], option_files.real_esrgan), "3 probabilities"),
        (changed("jpeg_range2", None, option_files.real_esrgan), "lacks 'jpeg_range2'"),
        (changed("datasets.train.kernel_list", ["iso", "skew"], option_files.real_esrgan), "kernel_list"),
        (changed("datasets.train.blur_kernel_size", 8, option_files.real_esrgan), "odd size"),
        ({key: value for key, value in option_files.esrgan().items() if key != "train"}, "for testing"),
        ({"key": "value"}, "no option file of BasicSR's family"),
        ("model: srragan\nnetwork_G: {which_model_G: RRDBNet}\n", "first BasicSR"),
        ("extends: hggt/rrdb-posneg\n", "recipe of Goldeye already"),
        ("just words\n", "should hold options"),
        ("", "should hold options"),
        ("a: [1\n", "not valid YAML (line"),
        ("a: !!python/object/apply:os.system ['touch gone']\n", "not plain data (line 1)"),
        ("a: !!python/name:os.system\n", "not plain data"),
        ("a: &a [*a]\n", "a part of itself"),
        ("a: *nowhere\n", "not valid YAML (line 1)"),
        ("a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 9}]\n" for n in range(1, 9)), "more values"),
        ("a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{y: *a{n - 1}}}\n" for n in range(1, 40)), "nested deeper"),
        ("a: [" + "1, " * 20_000 + "]\n", "more values"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested deeper"),
        ("a: 2024-02-31\n", "a value that YAML cannot make"),
        ("a: " + "9" * 5000, "a value that YAML cannot make"),
        ("a: !!omap [1, 2]\n", "ordered dictionary that is none"),
        ("? [1, 2]\n: 3\n", "not plain data"),
    ],
)
def test_what_is_no_such_file_is_one_sentence(tmp_path, options, says):
    source = option_files.write(tmp_path / "options.yml", options)
    with pytest.raises(InvalidInput) as caught:
        import_file(source, tmp_path / "mine.yaml")
    assert says in caught.value.message
    assert "\n" not in caught.value.message
    assert [path.name for path in tmp_path.iterdir()] == ["options.yml"]


def test_files_that_are_not_text_or_not_there_or_there_already(tmp_path):
    (tmp_path / "binary.yml").write_bytes(b"\x80\x02}q\x00.")
    (tmp_path / "large.yml").write_bytes(b"#" * 2**21)
    taken = tmp_path / "taken.yaml"
    taken.write_text("kept")
    good = option_files.write(tmp_path / "good.yml", option_files.ESRGAN)
    for source, output, says in (
        (tmp_path / "none.yml", tmp_path / "a.yaml", "does not exist"),
        (tmp_path / "binary.yml", tmp_path / "a.yaml", "not UTF-8"),
        (tmp_path / "large.yml", tmp_path / "a.yaml", "too many for an option file"),
        (good, taken, "is there already"),
        (good, tmp_path / "recipe.json", "ends with .yaml"),
    ):
        with pytest.raises(InvalidInput, match=says):
            import_file(source, output)
    assert taken.read_text() == "kept"


def test_ordered_dictionaries_and_tuples_are_plain_data(tmp_path):
    path = tmp_path / "options.yml"
    path.write_text(
        "one: !!omap [{a: 1}, {b: 2}]\n"
        "two: !!python/object/apply:collections.OrderedDict\n- - [a, 1]\n  - [b, ~]\n"
        "three: !!python/tuple [0.9, 0.99]\n"
        "four: !!python/object/apply:collections.OrderedDict []\n"
    )
    assert read_yaml(path) == {"one": {"a": 1, "b": 2}, "two": {"a": 1, "b": None}, "three": [0.9, 0.99], "four": {}}


def test_aliases_and_merges_are_read(tmp_path):
    path = tmp_path / "options.yml"
    path.write_text("a: &a {x: 1, y: [2, 3]}\nb: *a\nc: {<<: *a, x: 4}\n")
    assert read_yaml(path)["b"] == {"x": 1, "y": [2, 3]}
    assert read_yaml(path)["c"] == {"x": 4, "y": [2, 3]}


def test_numbers_as_people_write_them():
    options = Options({"a": "1e-4", "b": "5e3", "c": [None, "1e-4"], "d": 0.5}, "x.yml")
    assert (options.number("a", ""), options.integer("b", ""), options.numbers("d", "")) == (1e-4, 5000, [0.5])
    with pytest.raises(InvalidInput, match="c should be a number, not ~"):
        options.numbers("c", "")


def test_names_with_control_characters_reach_neither_terminal_nor_comments(tmp_path, capsys):
    options = changed("train.evil\n\x1b[31mkey", "red\x1b[31m\nmethod: pixel") | {"name": "a\x1b[0m\nmethod: pixel"}
    source = option_files.write(tmp_path / "options.yml", options)
    assert run(["recipes", "import", str(source), "-o", str(tmp_path / "mine.yaml")]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert "\x1b" not in (tmp_path / "mine.yaml").read_text()
    assert load_recipe(str(tmp_path / "mine.yaml")).method == "gan"


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    option_files.write(tmp_path / "hggt.yml", option_files.hggt())
    assert run(["recipes", "import", "hggt.yml", "-o", "mine.yaml", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert "OwnPosNegModel" in error["message"]
    assert "RealESRGANModel" in error["hint"]
    assert run(["recipes", "import", "hggt.yml", "-o", "mine.yaml", "--like", "RealESRGANModl"]) == 2
    assert "Did you mean 'RealESRGANModel'" in capsys.readouterr().err
    arguments = ["recipes", "import", "hggt.yml", "--like", "RealESRGANModel", "-o"]
    assert run([*arguments, "mine.yaml", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["recipe"], found["degradation"]) == (
        "goldeye.recipes/1",
        "mine.yaml",
        "mine-degradation.yaml",
    )
    assert {"key": "train.total_iter", "value": 300000, "setting": "steps"} in found["mapped"]
    assert run([*arguments, "again.yaml"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Wrote again.yaml and again-degradation.yaml.")
    assert "Not mapped: look at these (2)" in out
    assert (tmp_path / "mine.yaml").read_text().startswith("# Made of hggt.yml")
    assert load_recipe("mine.yaml").data.degradation == "mine-degradation.yaml"
    assert run(["recipes", "show", "mine.yaml"]) == 0


KEYS = sorted(flat(option_files.real_esrgan()))
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 10**6),
    st.floats(allow_nan=False, width=32),
    st.text(max_size=8),
    st.lists(st.one_of(st.integers(-3, 40), st.floats(0, 2), st.text(max_size=3)), max_size=4),
    st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=2),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(KEYS), VALUES)
def test_any_value_gives_a_valid_recipe_or_one_sentence(tmp_path, key, value):
    source = option_files.write(tmp_path / "options.yml", changed(key, value, option_files.real_esrgan))
    try:
        made = import_options(source)
    except InvalidInput as error:
        message = error.message
        assert "\n" not in message
        return
    accounts = [made.options.mapped, made.options.ignored, made.options.unmapped]
    listed = [entry.key for account in accounts for entry in account]
    assert len(listed) == len(set(listed))
    assert TrainConfig.model_validate(yaml.safe_load(yaml.safe_dump(made.recipe))).steps > 0
