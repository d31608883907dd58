"""Prediction: `compile` prepares a model once for many inputs."""

from medkern.inference.compiled import CompiledModel, Predictor, compile
from medkern.inference.graph import TraceError

__all__ = ["CompiledModel", "Predictor", "TraceError", "compile"]
