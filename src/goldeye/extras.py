"""Which optional part of Goldeye brings a library."""

from __future__ import annotations

from goldeye.errors import GoldeyeError, InvalidInput

_EXTRAS = {
    "lightning_fabric": "train",
    "cv2": "train",
    "tensorboard": "train",
    "fastapi": "annotate",
    "uvicorn": "annotate",
    "sqlalchemy": "annotate",
    "alembic": "annotate",
    "markdown_it": "annotate",
    "nh3": "annotate",
    "psutil": "annotate",
    "psycopg": "scale",
    "jinja2": "report",
    "matplotlib": "report",
    "skimage": "demo",
    "httpx": "demo",
    "torchmetrics": "metrics",
    "torch_fidelity": "metrics",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "onnx_ir": "export",
    "pyarrow": "labels",
    "ray": "scale",
}


def missing_extra(error: ModuleNotFoundError) -> GoldeyeError:
    """The sentence for a library that is not installed; an import that is our own fault is raised again."""
    extra = _EXTRAS.get((error.name or "").split(".")[0])
    if extra is None:
        raise error
    return InvalidInput(
        f"This needs '{error.name}', which is not installed.", hint=f"pip install 'goldeye[{extra}]' brings it."
    )
