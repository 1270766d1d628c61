"""A training option file of BasicSR, Real-ESRGAN, LDL or HGGT as a recipe, with an account of every key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goldeye.basicsr import degradation, networks
from goldeye.basicsr.losses import artifact_key, losses, negative_key
from goldeye.basicsr.models import AS_HERE, MODELS, Model
from goldeye.basicsr.options import Options, plain_number, read_yaml, shown
from goldeye.config import TrainConfig, validate
from goldeye.errors import InvalidInput, unknown_name

_HARDWARE = "no setting of a recipe: the machine decides"


@dataclass(frozen=True)
class Imported:
    """A valid recipe, the pipeline that is to stand beside it (None: a preset, or pairs), and where the keys went."""

    recipe: dict[str, Any]
    pipeline: dict[str, Any] | None
    options: Options


def import_options(path: Path, *, like: str | None = None, pipeline_file: str = "degradation.yaml") -> Imported:
    """Read an option file; `like` names the model type to read an unknown one as.

    `pipeline_file` is what the recipe calls its degradation where that is no preset. Nothing is written, and nothing of
    the file is run. Raises InvalidInput in one sentence: no option file, a model type or network that cannot be brought
    over, a key that is absent or of a wrong kind, values that make no recipe.
    """
    options = Options(_checked(path), path.name)
    model = _model(options, like)
    method = "pixel" if not model.gan else "ldl" if model.artifacts and artifact_key(options) else "gan"
    recipe: dict[str, Any] = {"summary": options.text("name", "summary") or f"from {path.name}", "method": method}
    generator, scale = networks.generator(options)
    recipe |= {"scale": scale, "steps": _steps(options), "seed": _seed(options), "generator": generator}
    if model.gan:
        recipe["discriminator"] = networks.discriminator(options)
    recipe["data"], pipeline = _data(options, model, scale, pipeline_file)
    recipe["losses"] = losses(options, model)
    if "negative" in recipe["losses"]:
        recipe["method"] = "hggt"
        recipe["data"] = _of_a_dataset(options, recipe["data"])
    recipe["optimizer"] = _optimizer(options, model)
    recipe["ema"] = plain_number(options.number("train.ema_decay", "ema") or 0)
    recipe |= _updates(options) | _log(options) | _validation(options, scale)
    _rest(options, model)
    options.close()
    validate(TrainConfig, recipe, where=f"the recipe made of '{path.name}'")
    return Imported(recipe, pipeline, options)


def _checked(path: Path) -> dict[Any, Any]:
    values = read_yaml(path)
    if "model_type" not in values and ("method" in values or "extends" in values):
        raise InvalidInput(f"'{path}' is a recipe of Goldeye already.", hint="`goldeye train FILE` trains it.")
    if "network_G" in values:
        raise InvalidInput(
            f"'{path}' is of the first BasicSR (network_G), whose options cannot be brought over.",
            hint="Later ones have model_type and network_g. For ESRGAN itself there is the recipe esrgan/rrdb.",
        )
    for key, kind in (("model_type", "text"), ("network_g", "options"), ("datasets", "options"), ("train", "options")):
        if key not in values:
            what = "an option file for testing" if key == "train" else "no option file of BasicSR's family"
            raise InvalidInput(
                f"'{path}' is {what}: it has no '{key}'.",
                hint="Such files of BasicSR, Real-ESRGAN, ESRGAN, LDL and HGGT can be brought over.",
            )
        if not isinstance(values[key], dict if kind == "options" else (str, int, float)):
            raise InvalidInput(f"In '{path}': '{key}' should hold {kind}.")
    if not isinstance(values["datasets"].get("train"), dict):
        raise InvalidInput(f"'{path}' has no data to train on (datasets.train).")
    return values


def _model(options: Options, like: str | None) -> Model:
    if like is not None and like not in MODELS:
        raise unknown_name("model type", like, MODELS)
    name = options.text("model_type", "method") or ""
    if name not in MODELS and like is None:
        raise InvalidInput(
            f"'{options.source}' has the model type {shown(name)}, which cannot be brought over as it is.",
            hint=f"Known: {', '.join(MODELS)}; `--like ONE` reads the file as that one's.",
        )
    return MODELS[like or name]


def _steps(options: Options) -> int:
    steps = options.integer("train.total_iter", "steps")
    if steps is None:
        raise options.required("train.total_iter")
    return steps


def _seed(options: Options) -> int:
    return options.integer("manual_seed", "seed") or 0


# Data ------------------------------------------------------------------------------------------------------------


def _data(
    options: Options, model: Model, scale: int, pipeline_file: str
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The recipe's `data`, and the pipeline that `pipeline_file` is to hold."""
    at = "datasets.train"
    data: dict[str, Any] = {}
    pipeline = None
    paired = options.has(f"{at}.dataroot_lq")
    _dataset_type(options, paired)
    path = _folders(options, f"{at}.dataroot_gt", "data.path")
    if path is not None:
        data["path"] = path
    if paired:
        data["source"] = "pairs"
        lr_path = _folders(options, f"{at}.dataroot_lq", "data.lr_path")
        if path is not None and lr_path is not None:
            data["lr_path"] = lr_path
        options.unmap(*([] if path else [f"{at}.dataroot_lq"]), meaning="goes with data.path: set data.lr_path")
        degradation.ignore(options, "the LR pictures are there")
        for place in ("", "datasets.train."):
            options.ignore(f"{place}high_order_degradation", "the LR pictures are there")
    else:
        if not degradation.has_degradation(options):
            raise InvalidInput(
                f"'{options.source}' has neither LR pictures (datasets.train.dataroot_lq) nor a degradation: it lacks "
                "resize_prob and the like."
            )
        name, made = degradation.pipeline(options, keeps_size=scale == 1)
        pipeline = None if name else made
        data |= {"source": "photos", "degradation": name or pipeline_file}
    usm = _usm(options, model)
    if usm is not None:
        data["usm"] = usm
    for key in ("meta_info_file", "meta_info"):
        listed = options.text(f"{at}.{key}", "data.meta_info")
        if listed is not None:
            data["meta_info"] = listed
    data |= {"crop": _crop(options), "batch": _batch(options), "augment": _augment(options)}
    workers = options.integer(f"{at}.num_worker_per_gpu", "data.workers")
    return data | ({} if workers is None else {"workers": workers}), pipeline


def _of_a_dataset(options: Options, data: dict[str, Any]) -> dict[str, Any]:
    """`data` for positives and negatives, which a dataset of patch groups holds."""
    lists = [entry.key for entry in options.mapped if entry.text in ("data.meta_info", "data.lr_path")]
    options.unmap(*lists, meaning="a dataset of patch groups has its own lists, and makes the LR pictures itself")
    kept = {key: value for key, value in data.items() if key not in ("meta_info", "lr_path")}
    return kept | {"source": "dataset", "target": "positive+negative"}


def _dataset_type(options: Options, paired: bool) -> None:
    key = "datasets.train.type"
    if options.left.get(key) in ("PairedImageDataset", "RealESRGANDataset", "RealESRGANPairedDataset"):
        options.text(key, "data.source")
    else:
        kind = "pairs of LR and GT" if paired else "photos that are degraded"
        if negative_key(options):
            kind = "a labelled dataset"
        options.refuse(key, f"a data set class unknown here, read as {kind}: see data.source and data.target")


def _folders(options: Options, key: str, setting: str) -> str | list[str] | None:
    """A folder, or several; files of a database are no folders."""
    value = options.left.get(key)
    if any(str(item).endswith(".lmdb") for item in (value if isinstance(value, list) else [value])):
        options.refuse(key, f"an LMDB database: set {setting} to the folder of pictures it was made of")
        options.refuse("datasets.train.io_backend", "LMDB: Goldeye reads folders")
        return None
    if isinstance(value, list):
        return [str(item) for item in options.map(key, setting)]
    return options.text(key, setting)


def _usm(options: Options, model: Model) -> bool | None:
    """Whether LR pictures and targets come from the sharpened GT; None where the model type knows no such thing."""
    if not model.usm:
        return None
    if not model.gan:
        return options.flag("gt_usm", "data.usm") or False
    keys = ("l1_gt_usm", "percep_gt_usm", "gan_gt_usm")
    found = {key: options.left[key] for key in keys if options.left.get(key) is not None}
    pixel, perceptual, adversarial = (options.flag(key, "data.usm") or False for key in keys)
    usm = pixel or perceptual
    if found and (pixel, perceptual, adversarial) != (True, True, False):
        options.unmap(
            *found,
            meaning=f"which terms see the sharpened GT; data.usm {shown(usm)} was taken: "
            + ("the LR pictures, pixel and perceptual term" if usm else "no term, and LR pictures of the plain GT"),
        )
    return usm


def _crop(options: Options) -> int:
    """Real-ESRGAN crops to the general gt_size; the data set's is then without effect."""
    general = options.integer("gt_size", "data.crop")
    if general is not None:
        options.ignore("datasets.train.gt_size", "gt_size of the whole file is what counts")
        return general
    crop = options.integer("datasets.train.gt_size", "data.crop")
    if crop is None:
        raise options.required("datasets.train.gt_size")
    return crop


def _batch(options: Options) -> int:
    batch = options.integer("datasets.train.batch_size_per_gpu", "data.batch")
    if batch is None:
        raise options.required("datasets.train.batch_size_per_gpu")
    return batch


def _augment(options: Options) -> str:
    at = "datasets.train"
    # Without use_rot there is only the left-right flip; with it up-down and transposition, too.
    flip = options.flag(f"{at}.use_hflip", "data.augment")
    rotate = options.left.get(f"{at}.use_rot") is True
    if rotate and not flip:
        options.refuse(f"{at}.use_rot", "turns and up-down flips without left-right ones; flip+rotate has all eight")
    else:
        options.flag(f"{at}.use_rot", "data.augment")
    return "flip+rotate" if rotate else "flip" if flip else "none"


# Optimizers and the rest -----------------------------------------------------------------------------------------


def _optimizer(options: Options, model: Model) -> dict[str, Any]:
    at = "train.optim_g"
    lr = options.number(f"{at}.lr", "optimizer.lr")
    if lr is None:
        raise options.required(f"{at}.lr")
    betas = options.numbers(f"{at}.betas", "optimizer.betas") or [0.9, 0.999]
    _plain_adam(options, at)
    _discriminator_optimizer(options, model, lr, betas)
    return {"lr": lr, "betas": [plain_number(beta) for beta in betas]} | _schedule(options)


def _discriminator_optimizer(options: Options, model: Model, lr: float, betas: list[float]) -> None:
    at = "train.optim_d"
    if not model.gan:
        return
    meaning = f"the discriminator's own; here both have lr {lr:g} and betas {betas}"
    options.ignore_if(f"{at}.lr", lr, "the same as the generator's", meaning)
    options.ignore_if(f"{at}.betas", betas, "the same as the generator's", meaning)
    _plain_adam(options, at)


def _plain_adam(options: Options, at: str) -> None:
    options.ignore_if(f"{at}.type", "Adam", AS_HERE, "another optimizer than Adam, which was taken")
    options.ignore_if(f"{at}.weight_decay", 0, AS_HERE, "weight decay, which Goldeye's Adam does not have")


def _schedule(options: Options) -> dict[str, Any]:
    at = "train.scheduler"
    warmup = "the rate rises from 0 for so many steps; Goldeye starts at the full rate"
    if options.left.get("train.warmup_iter") == 0:
        options.ignore("train.warmup_iter", "no warm-up, as here")
    options.ignore_if("train.warmup_iter", -1, "no warm-up, as here", warmup)
    if options.left.get(f"{at}.type") not in ("MultiStepLR", "MultiStepRestartLR", None):
        options.refuse(at, "Goldeye's rate falls at milestones; the recipe's rate is constant")
        return {}
    options.ignore(f"{at}.type", AS_HERE)
    milestones = options.numbers(f"{at}.milestones", "optimizer.milestones") or []
    gamma = options.number(f"{at}.gamma", "optimizer.gamma")
    options.ignore_if(f"{at}.restarts", [0], "no restart, as here", "restarts of the rate, which Goldeye does not have")
    options.ignore_if(f"{at}.restart_weights", [1], "no restart, as here", "the rate after a restart")
    if not milestones:
        return {}
    return {"milestones": [plain_number(step) for step in milestones], "gamma": 0.1 if gamma is None else gamma}


def _updates(options: Options) -> dict[str, Any]:
    """Several GPUs make one update of all their batches; one process does the same by accumulating."""
    if options.left.get("num_gpu") in (None, "auto", 0):
        options.ignore("num_gpu", _HARDWARE)
        return {}
    gpus = options.integer("num_gpu", "accumulate")
    return {"accumulate": gpus} if gpus != 1 else {}


def _log(options: Options) -> dict[str, Any]:
    found = {
        "log_every": options.integer("logger.print_freq", "log_every"),
        "checkpoint_every": options.integer("logger.save_checkpoint_freq", "checkpoint_every"),
    }
    return {name: value for name, value in found.items() if value is not None}


_METRICS = {"calculate_psnr": "psnr", "calculate_ssim": "ssim"}


def _validation(options: Options, scale: int) -> dict[str, Any]:
    """Validation sets that have LR pictures, with PSNR and SSIM."""
    sets: dict[str, dict[str, str]] = {}
    for place in sorted({".".join(key.split(".")[:2]) for key in options.left if key.startswith("datasets.val")}):
        if not (options.has(f"{place}.dataroot_gt") and options.has(f"{place}.dataroot_lq")):
            options.refuse(place, "a validation set without ground truth or LR pictures")
            continue
        name = re.sub(r"[^\w-]", "-", str(options.map(f"{place}.name", "validation.sets") or place.split(".")[1]))
        gt, lr = (options.text(f"{place}.dataroot_{kind}", f"validation.sets.{name}") for kind in ("gt", "lq"))
        sets[name] = {"gt": gt or "", "lr": lr or ""}
        options.ignore_if(f"{place}.filename_tmpl", "{}", AS_HERE, "names of the LR pictures; here those of the GT")
        options.ignore(place, "pairs, read from folders, as here")
    if not sets:
        return {}
    found: dict[str, Any] = {"sets": sets}
    every = options.integer("val.val_freq", "validation.every")
    metrics = _metrics(options, scale)
    return {"validation": found | ({"metrics": metrics} if metrics else {}) | ({"every": every} if every else {})}


def _metrics(options: Options, scale: int) -> list[str]:
    names = []
    for place in sorted({".".join(key.split(".")[:3]) for key in options.left if key.startswith("val.metrics.")}):
        kind = _METRICS.get(str(options.left.get(f"{place}.type")))
        if kind is None:
            options.refuse(place, "a metric that is not taken over: validation.metrics names those to compute")
            continue
        options.map(f"{place}.type", "validation.metrics")
        luma = options.flag(f"{place}.test_y_channel", "validation.metrics")
        names.append(f"{kind}_y" if luma else kind)
        options.ignore_if(f"{place}.crop_border", scale, "the scale, as here", f"Goldeye leaves out {scale} pixels")
        options.ignore_if(f"{place}.better", "higher", AS_HERE, "which way the metric is better")
    return list(dict.fromkeys(names))


# Keys that change nothing here, by reason.
_WITHOUT_EFFECT = {
    "samples are drawn by number, every picture once an epoch": (
        *("datasets.train.dataset_enlarge_ratio", "datasets.train.use_shuffle", "datasets.train.queue_size"),
        "queue_size",
    ),
    "how pictures are read, not which": (
        *("datasets.train.prefetch_mode", "datasets.train.num_prefetch_queue", "datasets.train.pin_memory"),
        *("datasets.train.persistent_workers", "datasets.train.crop_pad_size"),
    ),
    "a label, or how progress is shown": ("datasets.train.name", "datasets.train.phase", "logger", "val"),
    _HARDWARE: ("dist_params", "find_unused_parameters", "use_static_graph"),
}
# Keys that Goldeye has at one value only, and what another one means.
_FIXED: tuple[tuple[str, Any, str], ...] = (
    ("datasets.train.io_backend.type", "disk", "Goldeye reads pictures of folders"),
    ("datasets.train.filename_tmpl", "{}", "names of the LR pictures; pairs here have the same names"),
    ("path.strict_load_g", True, "weights that fit only in part; here they must fit"),
    ("path.strict_load_d", True, "weights that fit only in part; here they must fit"),
    ("path.param_key_g", "params_ema", "which weights of the file: averaged ones are read first, if it has them"),
    ("path.param_key_d", "params", "which weights of the file: averaged ones are read first, if it has them"),
    ("path.resume_state", None, "BasicSR's state of a run, which cannot be continued here"),
    ("train.net_d_iters", 1, "the generator is updated only every so many steps; here at every one"),
    ("train.net_d_init_iters", 0, "the discriminator is trained alone for so many steps; here both from the first"),
)


def _rest(options: Options, model: Model) -> None:
    """What has no effect here, or a meaning that Goldeye lacks."""
    for reason, keys in _WITHOUT_EFFECT.items():
        for key in keys:
            options.ignore(key, reason)
    for key, value, meaning in _FIXED:
        options.ignore_if(key, value, AS_HERE, meaning)
    if not model.gan:
        for key in ("network_d", "train.optim_d", "path.pretrain_network_d"):
            options.ignore(key, "the model type has no discriminator")
