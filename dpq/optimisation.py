"""Parameter groups of the network: learning rates by depth, or the released code's multipliers."""

from __future__ import annotations

from typing import Any

from dpq.backbone import Backbone
from dpq.settings import TrainingConfig


def decayed_groups(backbone: Backbone, config: TrainingConfig) -> list[dict[str, Any]]:
    """Each earlier layer learns by `layer_decay` slower; no weight decay on biases and normalisation."""
    from timm.optim import param_groups_layer_decay

    groups = param_groups_layer_decay(backbone.body, config.weight_decay, layer_decay=config.layer_decay)
    body = [
        {
            "params": group["params"],
            "weight_decay": group["weight_decay"],
            "lr": config.learning_rate * group["lr_scale"],
        }
        for group in groups
    ]
    heads = backbone.heads
    rate = config.learning_rate * config.head_multiplier
    return [
        *body,
        {"params": [h.bias for h in heads], "weight_decay": 0.0, "lr": rate},
        {"params": [h.weight for h in heads], "weight_decay": config.weight_decay, "lr": rate},
    ]


def released_groups(backbone: Backbone, config: TrainingConfig) -> list[dict[str, Any]]:
    """The released code's gradient multipliers, as learning rates.

    The backbone's weights learn from the mean of the two feature losses' gradients, everything else from
    their sum, so the weights have half the rate; heads have 10 times the rate on weights, 20 times on biases.
    """

    def group(parameters: list[Any], multiple: float) -> dict[str, Any]:
        return {"params": parameters, "weight_decay": config.weight_decay, "lr": config.learning_rate * multiple}

    body = list(backbone.body.named_parameters())
    heads = backbone.heads
    return [
        group([p for name, p in body if not name.endswith("bias")], 0.5),
        group([p for name, p in body if name.endswith("bias")], 1.0),
        group([h.bias for h in heads], 20.0),
        group([h.weight for h in heads], 10.0),
    ]
