"""Operators with a branch of their meta function that only an unlikely call reaches; one of them crashes on an unlikely call."""

from __future__ import annotations

import os
import signal

import torch

library = torch.library.Library("sweep_searched", "FRAGMENT")


def rare_meta(x, mode, times):
    if mode == "reflect":  # noqa: SIM102 - three branches
        if times == 7:
            if x.dtype == torch.bfloat16:
                return x.new_empty(x.shape)  # behind three conditions
            return torch.empty_like(x)
    return torch.empty_like(x)


def refusing_meta(x, times):
    if times == 3:
        return torch.empty_like(x)
    return torch.empty_like(x)


def refusing_kernel(x, times):
    if times == 3:
        raise RuntimeError("no")
    return x.clone()


def crashing_kernel(x, times):
    if times == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    return x.clone()


def crashing_meta(x, times):
    if times == 3:
        return torch.empty_like(x)
    if times == 5:
        return torch.empty_like(x)
    return torch.empty_like(x)


OPERATORS = {
    "rare": ("(Tensor x, str mode, int times) -> Tensor", lambda x, mode, times: x.clone(), rare_meta),
    "refusing": ("(Tensor x, int times) -> Tensor", refusing_kernel, refusing_meta),
    "crashing": ("(Tensor x, int times) -> Tensor", crashing_kernel, crashing_meta),
}

for name, (schema, kernel, meta) in OPERATORS.items():
    library.define(f"{name}{schema}")
    library.impl(name, kernel, "CPU")
    torch.library.register_fake(f"sweep_searched::{name}", meta, lib=library)
