"""Recording PyTorch training; needs torch."""

from .layers import Layer, Projection, Rotary, Structure
from .recorder import Recorder, RecorderError
from .resolve import UnknownModel, resolve

__all__ = ["Layer", "Projection", "Recorder", "RecorderError", "Rotary", "Structure", "UnknownModel", "resolve"]
