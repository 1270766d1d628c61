"""Option files as the projects write them, with the values of their papers (settings are facts of the papers)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

# The ways of writing that such files have: !!float, ~ for nothing, quoted layers, flow lists, comments.
ESRGAN = """
# general
name: esrgan_x4
model_type: ESRGANModel
scale: 4
num_gpu: 1  # 0 for the CPU
manual_seed: 10

datasets:
  train:
    name: DIV2K
    type: PairedImageDataset
    dataroot_gt: data/DIV2K/hr
    dataroot_lq: data/DIV2K/lr_x4
    meta_info_file: data/DIV2K/list.txt
    filename_tmpl: '{}'
    io_backend: {type: disk}
    gt_size: 128
    use_hflip: true
    use_rot: true
    use_shuffle: true
    num_worker_per_gpu: 6
    batch_size_per_gpu: 16
    dataset_enlarge_ratio: 100
    prefetch_mode: ~
  val:
    name: Set14
    type: PairedImageDataset
    dataroot_gt: data/Set14/hr
    dataroot_lq: data/Set14/lr
    io_backend:
      type: disk

network_g: {type: RRDBNet, num_in_ch: 3, num_out_ch: 3, num_feat: 64, num_block: 23}
network_d:
  type: VGGStyleDiscriminator
  num_in_ch: 3
  num_feat: 64

path:
  pretrain_network_g: weights/psnr.pth
  strict_load_g: true
  resume_state: ~

train:
  ema_decay: 0.999
  optim_g:
    type: Adam
    lr: !!float 1e-4
    weight_decay: 0
    betas: [0.9, 0.99]
  optim_d: {type: Adam, lr: 1e-4, weight_decay: 0, betas: [0.9, 0.99]}
  scheduler:
    type: MultiStepLR
    milestones: [50000, 100000, 200000, 300000]
    gamma: 0.5
  total_iter: 400000
  warmup_iter: -1  # none
  pixel_opt: {type: L1Loss, loss_weight: !!float 1e-2, reduction: mean}
  perceptual_opt:
    type: PerceptualLoss
    layer_weights:
      'conv5_4': 1
    vgg_type: vgg19
    use_input_norm: true
    range_norm: false
    perceptual_weight: 1.0
    style_weight: 0
    criterion: l1
  gan_opt:
    type: GANLoss
    gan_type: vanilla
    real_label_val: 1.0
    fake_label_val: 0.0
    loss_weight: !!float 5e-3
  net_d_iters: 1
  net_d_init_iters: 0

val:
  val_freq: !!float 5e3
  save_img: true
  metrics:
    psnr: {type: calculate_psnr, crop_border: 4, test_y_channel: false}

logger:
  print_freq: 100
  save_checkpoint_freq: !!float 5e3
  use_tb_logger: true
  wandb: {project: ~, resume_id: ~}

dist_params: {backend: nccl, port: 29500}
"""

FIVE = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1, "conv4_4": 1, "conv5_4": 1}
SIX_KERNELS = {
    "kernel_list": ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"],
    "kernel_prob": [0.45, 0.25, 0.12, 0.03, 0.12, 0.03],
    "sinc_prob": 0.1,
    "betag_range": [0.5, 4],
    "betap_range": [1, 2],
}
REAL_ESRGAN_MODEL = {  # these stand at the top of the file
    "resize_prob": [0.2, 0.7, 0.1],
    "resize_range": [0.15, 1.5],
    "gaussian_noise_prob": 0.5,
    "noise_range": [1, 30],
    "poisson_scale_range": [0.05, 3],
    "gray_noise_prob": 0.4,
    "jpeg_range": [30, 95],
    "second_blur_prob": 0.8,
    "resize_prob2": [0.3, 0.4, 0.3],
    "resize_range2": [0.3, 1.2],
    "gaussian_noise_prob2": 0.5,
    "noise_range2": [1, 25],
    "poisson_scale_range2": [0.05, 2.5],
    "gray_noise_prob2": 0.4,
    "jpeg_range2": [30, 95],
}
REAL_ESRGAN_DATA = {
    "blur_kernel_size": 21,
    "blur_sigma": [0.2, 3],
    **SIX_KERNELS,
    "blur_kernel_size2": 21,
    "blur_sigma2": [0.2, 1.5],
    "final_sinc_prob": 0.8,
    **{f"{key}2": value for key, value in SIX_KERNELS.items()},
}


def esrgan() -> dict[str, Any]:
    """ESRGAN's file as a dictionary, for others to change."""
    options: dict[str, Any] = yaml.safe_load(ESRGAN)
    options["train"]["optim_d"]["lr"] = 1e-4
    return options


def real_esrgan() -> dict[str, Any]:
    """Real-ESRGAN, second stage of training."""
    options = esrgan() | copy.deepcopy(REAL_ESRGAN_MODEL)
    options |= {"name": "real_esrgan", "model_type": "RealESRGANModel", "num_gpu": 4, "gt_size": 256, "queue_size": 180}
    options |= {"l1_gt_usm": True, "percep_gt_usm": True, "gan_gt_usm": False}
    data = options["datasets"] = {"train": options["datasets"]["train"]}
    for key in ("dataroot_lq", "meta_info_file", "filename_tmpl"):
        del data["train"][key]
    data["train"] |= {"type": "RealESRGANDataset", "meta_info": "list.txt", "use_rot": False, "batch_size_per_gpu": 12}
    data["train"] |= copy.deepcopy(REAL_ESRGAN_DATA) | {"gt_size": 256}
    options["network_d"] = {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 64, "skip_connection": True}
    options["path"]["param_key_g"] = "params_ema"
    train = options["train"]
    train |= {"scheduler": {"type": "MultiStepLR", "milestones": [400000], "gamma": 0.5}}
    train["pixel_opt"]["loss_weight"], train["gan_opt"]["loss_weight"] = 1.0, 0.1
    train["perceptual_opt"]["layer_weights"] = dict(FIVE)
    del options["val"]
    return options


def real_esrnet() -> dict[str, Any]:
    """Real-ESRGAN, first stage: L1 alone."""
    options = real_esrgan() | {"model_type": "RealESRNetModel", "gt_usm": True}
    for key in ("l1_gt_usm", "percep_gt_usm", "gan_gt_usm", "network_d"):
        del options[key]
    for key in ("perceptual_opt", "gan_opt", "optim_d", "net_d_iters", "net_d_init_iters"):
        del options["train"][key]
    options["train"]["optim_g"]["lr"] = 2e-4
    options["train"] |= {"total_iter": 1_000_000, "scheduler": {"type": "MultiStepLR", "milestones": [1_000_000]}}
    return options


def ldl_synthetic() -> dict[str, Any]:
    """LDL on bicubic LR pictures."""
    options = esrgan() | {"model_type": "ESRGANArtifactsDisModel", "num_gpu": 4}
    train = options["train"]
    train |= {"artifacts_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}, "total_iter": 300_000}
    train["perceptual_opt"]["layer_weights"] = dict(FIVE)
    train["scheduler"]["milestones"] = [300_000]
    return options


def ldl_real_world() -> dict[str, Any]:
    """LDL with Real-ESRGAN's degradation."""
    options = real_esrgan() | {"model_type": "RealESRGANArtifactsDisModel"}
    options["datasets"]["train"]["batch_size_per_gpu"] = 4
    options["train"]["artifacts_opt"] = {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}
    options["train"]["pixel_opt"]["loss_weight"] = 0.01
    return options


def hggt() -> dict[str, Any]:
    """HGGT: positives and negatives, one stage of degradation."""
    options = real_esrgan() | {"model_type": "OwnPosNegModel", "num_gpu": 1}
    for key in ("l1_gt_usm", "percep_gt_usm", "gan_gt_usm", *(key for key in options if key.endswith("2"))):
        del options[key]
    options |= {"resize_prob": [0.1, 0.85, 0.05], "resize_range": [0.8, 1.2], "noise_range": [1, 12]}
    options |= {"poisson_scale_range": [0.05, 0.8], "gray_noise_prob": 0.2, "jpeg_range": [75, 95]}
    del options["second_blur_prob"]
    data = options["datasets"]["train"]
    for key in ("final_sinc_prob", "betag_range", "betap_range", "meta_info", *(k for k in data if k.endswith("2"))):
        del data[key]
    data |= {"type": "OwnPosNegDataset", "blur_kernel_size": 9, "kernel_list": ["iso", "aniso"]}
    data |= {"kernel_prob": [0.7, 0.3], "sinc_prob": 0.01, "blur_sigma": [0.1, 1.0]}
    options["network_g"]["type"] = "RRDBPSNet"
    options["train"]["neg_opt"] = {"type": "L1Loss", "loss_weight": 300, "reduction": "mean"}
    options["train"] |= {
        "total_iter": 300_000,
        "scheduler": {"type": "MultiStepLR", "milestones": [200000], "gamma": 0.5},
    }
    return options


def enhancer() -> dict[str, Any]:
    """One of HGGT's enhancers: RCAN at scale 1 against noise."""
    options = hggt() | {"model_type": "OwnEnhancerModel", "scale": 1, "gt_size": 96}
    del options["train"]["neg_opt"]
    del options["train"]["ema_decay"]
    options |= {"resize_range": [0.9, 1.1], "noise_range": [6.5, 13], "poisson_scale_range": [0.45, 0.9]}
    options |= {"gray_noise_prob": 0.1, "jpeg_range": [80, 95]}
    data = options["datasets"]["train"]
    data |= {
        "blur_kernel_size": 7,
        "sinc_prob": 0.1,
        "blur_sigma": [0.1, 0.5],
        "use_rot": True,
        "batch_size_per_gpu": 4,
    }
    options["network_g"] = {"type": "RCAN", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 64, "num_group": 10}
    options["network_g"] |= {"num_block": 20, "squeeze_factor": 16, "upscale": 1}
    return options


def write(path: Path, options: dict[str, Any] | str) -> Path:
    """The options as a file."""
    path.write_text(options if isinstance(options, str) else yaml.safe_dump(options, sort_keys=False))
    return path
