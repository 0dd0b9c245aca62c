"""What an error of the library means on the command line: the library knows settings, not options."""

from __future__ import annotations

# By what the error is about.
OPTIONS = {
    "allow_missing": "check-data names what is missing, --allow-missing {} goes on without it",
    "backbone": "--backbone TIMM_NAME",
    "checkpoint": "--force",
    "data": "python -m benchmarks check-data {} names everything",
    "data_root": "--data-root DIR",
    "device": "--device cpu",
    "epochs": "--epochs N",
    "image_size": "--image-size N",
    "images": "--data-root DIR; python -m benchmarks check-data {} says what to get and how to lay it out",
    "limit": "--limit N",
    "output": "--output DIR",
    "strip_prefix": "--strip-prefix FOLDER",
    "weights": "--weights FILE, or --weights none to start from scratch",
    "workers": "fewer --workers",
}
