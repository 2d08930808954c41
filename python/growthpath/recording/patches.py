"""What happens outside the model: backward passes, gradient clipping, gradient scaling. Installed while a recorder is
open, taken back when it closes."""

from __future__ import annotations

from typing import Any, Callable

import torch
import torch.nn.utils.clip_grad as clip_grad
from torch.amp import grad_scaler


class Patches:
    """Wraps four functions of PyTorch by their module's names; the last recorder to close restores them."""

    def __init__(self, owner: Any):
        self.owner = owner
        self.restore: list[Callable[[], None]] = []

    def _wrap(self, holder: Any, name: str, make: Callable) -> None:
        own = getattr(holder, name)
        setattr(holder, name, make(own))
        self.restore.append(lambda: setattr(holder, name, own))

    def install(self) -> None:
        owner = self.owner

        def backward(own):
            def backward(tensors, *args, **kwargs):
                owner.on_backward(tensors)
                return own(tensors, *args, **kwargs)

            return backward

        def clip(own):
            def clip(parameters, max_norm, total_norm, *args, **kwargs):
                parameters = [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)
                owner.on_clip(parameters, float(max_norm), total_norm)
                return own(parameters, max_norm, total_norm, *args, **kwargs)

            return clip

        def clip_value(own):
            def clip_value(parameters, *args, **kwargs):
                parameters = [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)
                owner.on_clip_value(parameters)
                return own(parameters, *args, **kwargs)

            return clip_value

        def scale(own):
            def scale(scaler, outputs):
                scaled = own(scaler, outputs)
                owner.on_scale(scaler)
                return scaled

            return scale

        def scaler_step(own):
            def scaler_step(scaler, optimizer, *args, **kwargs):
                before = owner.steps_seen(optimizer)
                result = own(scaler, optimizer, *args, **kwargs)
                owner.on_scaler_step(optimizer, before)
                return result

            return scaler_step

        self._wrap(torch.autograd, "backward", backward)
        name = next((n for n in ("_clip_grads_with_norm_", "clip_grads_with_norm_") if hasattr(clip_grad, n)), None)
        if name is not None:
            self._wrap(clip_grad, name, clip)
        self._wrap(torch.nn.utils, "clip_grad_value_", clip_value)
        self._wrap(grad_scaler.GradScaler, "scale", scale)
        self._wrap(grad_scaler.GradScaler, "step", scaler_step)

    def remove(self) -> None:
        while self.restore:
            self.restore.pop()()
