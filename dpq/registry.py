"""What a package needs to write a method of its own, by names that stay; see docs/own-method.md.

A method's file ends in `METHOD = MethodEntry(...)`, which `dpq.learning.entry` describes and finds.
"""

from __future__ import annotations

from dpq.codes.additive import decode, encode, kmeans, levels_for, residual_kmeans
from dpq.learning.backbone import Backbone
from dpq.learning.deep import AlternatingMethod, DeepMethod
from dpq.learning.entry import FACTS, Decoder, Method, MethodContext, MethodEntry, Registry, Source
from dpq.learning.on_embeddings import EmbeddingQuantizer
from dpq.learning.settings import Execution, KMeansConfig, RankedBy, Score, SearchConfig, TrainingConfig, TrainLog
from dpq.protocols.base import Split

__all__ = [
    "FACTS",
    "AlternatingMethod",
    "Backbone",
    "Decoder",
    "DeepMethod",
    "EmbeddingQuantizer",
    "Execution",
    "KMeansConfig",
    "Method",
    "MethodContext",
    "MethodEntry",
    "RankedBy",
    "Registry",
    "Score",
    "SearchConfig",
    "Source",
    "Split",
    "TrainLog",
    "TrainingConfig",
    "decode",
    "encode",
    "kmeans",
    "levels_for",
    "residual_kmeans",
]
