"""Prediction: `compile` prepares a model once for many inputs; searches write texts word by word."""

from medkern.inference.compiled import CompiledModel, Predictor, compile
from medkern.inference.generate import beam_search, greedy_search
from medkern.inference.graph import TraceError

__all__ = ["CompiledModel", "Predictor", "TraceError", "beam_search", "compile", "greedy_search"]
