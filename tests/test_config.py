"""Recipes: what ships resolves, and what is wrong is one sentence."""

from __future__ import annotations

import pytest

from goldeye.config import differing_keys, load_recipe, merge, recipe_names, to_yaml
from goldeye.errors import InvalidInput


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_resolves_and_says_what_it_is(name):
    config = load_recipe(name)
    assert config.summary
    assert name.startswith("tiny/") or config.table


def test_paper_settings_of_the_hggt_recipes():
    """Against REFERENCE §4, written out here."""
    posneg = load_recipe("hggt/rrdb-posneg")
    assert (posneg.data.crop, posneg.data.batch, posneg.steps) == (256, 12, 300_000)
    assert (posneg.optimizer.lr, posneg.optimizer.betas, posneg.optimizer.milestones) == (1e-4, (0.9, 0.99), (200_000,))
    losses = posneg.losses
    assert losses.perceptual
    assert losses.adversarial
    assert losses.negative
    assert (losses.pixel, losses.perceptual.weight, losses.adversarial.weight) == (1, 1, 0.1)
    assert (losses.negative.weight, losses.negative.window, losses.negative.power) == (300, 3, 0.75)
    assert (losses.perceptual.layers, losses.adversarial.kind) == ("five", "vanilla")
    assert posneg.discriminator
    assert (posneg.discriminator.architecture, posneg.ema, posneg.data.augment) == ("unet-sn", 0.999, "flip")
    assert [load_recipe(f"hggt/rrdb-{row}").data.target for row in ("original", "positive", "posneg")] == [
        "original",
        "positive",
        "positive+negative",
    ]
    for network in ("rcan", "elan"):
        for kind in ("noise", "blur"):
            enhancer = load_recipe(f"hggt/enhance-{network}-{kind}")
            assert enhancer.generator.architecture == f"{network}-x1"
            assert enhancer.data.degradation == f"hggt-enhance-{kind}"
            assert (enhancer.data.crop, enhancer.data.batch, enhancer.scale, enhancer.ema) == (96, 4, 1, 0)
            assert enhancer.data.augment == "flip+rotate"


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        ("hggt/rrdb-posnge", [], "Did you mean 'hggt/rrdb-posneg'"),
        ("nowhere.yaml", [], "'nowhere.yaml' does not exist"),
        ("hggt/rrdb-posneg", ["data.bacth=3"], "Did you mean 'data.batch'"),
        ("hggt/rrdb-posneg", ["data.batch=many"], "data.batch"),
        ("hggt/rrdb-posneg", ["data.batch"], "KEY=VALUE"),
        ("hggt/rrdb-posneg", ["data.crop=[1"], "not valid YAML"),
        ("hggt/rrdb-posneg", ["data.target=original"], "positive+negative"),
        ("hggt/rrdb-posneg", ["data.crop=250"], "multiple of the scale 4"),
        ("hggt/rrdb-pretrain", ["data.target=positive"], "needs labels"),
        ("hggt/rrdb-pretrain", ["data.split=train"], "has no splits"),
        ("hggt/rrdb-posneg", ["losses.negative.window=4"], "odd side"),
        ("ldl/rrdb", ["losses.artifact.window=4"], "odd side"),
        ("ldl/rrdb", ["ema=0"], "set ema above 0"),
        ("ldl/rrdb", ["losses.artifact=null"], "method 'ldl' needs losses.artifact"),
        ("hggt/rrdb-original", ["losses.artifact.weight=1"], "method 'gan' has no losses.artifact"),
        ("hggt/rrdb-pretrain", ["optimizer.betas=[1, 2]"], "optimizer.betas.0"),
        ("hggt/rrdb-pretrain", ["optimizer.lr=.inf"], "optimizer.lr"),
        ("hggt/rrdb-pretrain", ["seed=99999999999999999999"], "seed"),
        ("hggt/rrdb-pretrain", ["nonfinite=3"], "'nonfinite' should hold settings (key: value), not 3"),
        ("hggt/rrdb-pretrain", ["optimizer.milestones=5"], "'optimizer.milestones' should hold a list, not 5"),
        ("hggt/rrdb-pretrain", ["losses.adversarial.kind=vanilla"], "has no losses.adversarial"),
    ],
)
def test_mistakes_are_one_sentence_that_names_them(recipe, settings, message):
    with pytest.raises(InvalidInput) as caught:
        load_recipe(recipe, settings)
    assert message in caught.value.message
    assert "\n" not in caught.value.message


def test_set_understands_numbers_as_people_write_them():
    config = load_recipe("tiny/rrdb-pretrain", ["optimizer.lr=1e-5", "optimizer.milestones=[5, 9]", "data.path=1e3"])
    assert config.optimizer.lr == 1e-5
    assert config.optimizer.milestones == (5, 9)
    assert str(load_recipe("tiny/rrdb-pretrain", ["data.path=2024-05-01"]).data.path) == "2024-05-01"


def test_own_recipe_extends_a_shipped_one(tmp_path):
    own = tmp_path / "mine.yaml"
    own.write_text("extends: tiny/enhance-elan-noise\ngenerator: {settings: {m_elan: 2}}\n")
    config = load_recipe(str(own))
    assert config.generator.settings == {"m_elan": 2, "c_elan": 30}
    loop = tmp_path / "loop.yaml"
    loop.write_text(f"extends: {loop}\n")
    with pytest.raises(InvalidInput, match="extends itself"):
        load_recipe(str(loop))


def test_merge_goes_mapping_by_mapping_and_null_removes():
    assert merge({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": None, "e": 4}}) == {"a": {"b": 1, "e": 4}, "d": 3}


def test_resolved_yaml_is_a_recipe_again(tmp_path):
    config = load_recipe("tiny/rrdb-posneg", ["data.path=somewhere"])
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    assert load_recipe(str(path)) == config


def test_differing_keys_ignore_what_a_continued_run_may_change():
    one = load_recipe("tiny/rrdb-posneg")
    other = load_recipe("tiny/rrdb-posneg", ["steps=7", "log_every=1", "data.workers=1", "optimizer.lr=1", "seed=4"])
    assert differing_keys(one, other) == ["optimizer.lr", "seed"]


# LDL's training settings (its section 4.1 and official options): for every backbone, L1 first, then with GAN or LDL.
@pytest.mark.parametrize(
    ("backbone", "architecture"), [("srresnet", "srresnet"), ("rrdb", "rrdb"), ("swinir", "swinir-classical")]
)
def test_ldl_recipes_are_the_papers(backbone, architecture):
    pretrain, gan, ldl = (load_recipe(f"ldl/{backbone}{ending}") for ending in ("-pretrain", "-gan", ""))
    for config in (pretrain, gan, ldl):
        assert (config.generator.architecture, config.scale, config.steps) == (architecture, 4, 300_000)
        assert (config.data.crop, config.data.batch, config.data.augment) == (128, 16, "flip+rotate")
        assert (config.data.degradation, config.ema) == ("bicubic", 0.999)
        assert (config.optimizer.betas, config.optimizer.milestones) == ((0.9, 0.99), ())
    assert (pretrain.method, pretrain.losses.pixel, pretrain.optimizer.lr) == ("pixel", 1, 2e-4)
    for config in (gan, ldl):
        losses = config.losses
        assert (losses.pixel, losses.perceptual.weight, losses.perceptual.layers) == (0.01, 1, "five")
        assert (losses.adversarial.weight, losses.adversarial.kind) == (0.005, "ragan")
        assert (config.discriminator.architecture, config.optimizer.lr) == ("vgg-128", 1e-4)
    assert (gan.method, ldl.method) == ("gan", "ldl")
    artifact = ldl.losses.artifact
    assert (artifact.weight, artifact.stage, artifact.window, artifact.residual) == (1, "refined", 7, "absolute")


@pytest.mark.parametrize(("recipe", "stage"), [("ldl/rrdb-local", "local"), ("ldl/rrdb-scaled", "scaled")])
def test_ldl_ablations_differ_in_their_map_alone(recipe, stage):
    found, whole = (load_recipe(name).model_dump(exclude={"summary", "table"}) for name in (recipe, "ldl/rrdb"))
    assert found["losses"]["artifact"].pop("stage") == stage
    whole["losses"]["artifact"].pop("stage")
    assert (found.pop("weights"), whole.pop("weights")) == ("plain", "averaged")  # Table 2: what row 5 adds
    assert found == whole
