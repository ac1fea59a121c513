"""Activates the sweep where it is collected from a checkout that is not installed; ``plugin`` does so where it is.

The hooks themselves stand in ``plugin_hooks``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep import plugin


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    plugin.activate(pluginmanager)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves the sweep out of a run over a folder above it, in which it has no options."""
    return True if not config.pluginmanager.has_plugin(plugin.NAME) else None
