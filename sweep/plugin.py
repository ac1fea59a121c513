"""The entry point that pytest loads in every run of an environment in which the sweep is installed.

It activates ``plugin_hooks`` in runs that collect the sweep and does nothing in all others: the sweep's options have plain names,
such as ``--device``, that other suites may want for their own.
"""

from __future__ import annotations

from pathlib import Path

import pytest

#: Name under which the hooks are registered.
NAME = "sweep-hooks"

_PACKAGE = Path(__file__).resolve().parent


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    known = early_config.known_args_namespace
    if any(names_sweep(argument, pyargs=known.pyargs) for argument in known.file_or_dir):
        activate(early_config.pluginmanager)


def names_sweep(argument: str, *, pyargs: bool) -> bool:
    """Whether an argument of pytest names this package or something in it, by its path or, with ``--pyargs``, by its name.

    >>> names_sweep("sweep", pyargs=True), names_sweep("sweep.test_overloads::test_overload", pyargs=True)
    (True, True)
    >>> names_sweep("sweeper", pyargs=True), names_sweep(__file__, pyargs=False)
    (False, True)
    """
    name = argument.partition("::")[0]
    if pyargs and name.split(".")[0] == "sweep":
        return True
    try:
        path = Path(name).resolve()
    except (OSError, ValueError):  # any text can be an argument
        return False
    return path == _PACKAGE or _PACKAGE in path.parents


def activate(pluginmanager: pytest.PytestPluginManager) -> None:
    """Registers the hooks, once. pytest hands them the parser, so that they can still add their options."""
    if pluginmanager.has_plugin(NAME):
        return
    from sweep import plugin_hooks

    # Its folder is the first existing path among all arguments, values of options included: it might be that of the results.
    for cache in ("stepwise", "cacheprovider"):
        pluginmanager.set_blocked(cache)
    pluginmanager.register(plugin_hooks, NAME)
