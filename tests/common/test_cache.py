"""Compiled programs on disk: found again, and harmless where they cannot be kept."""

import os
import subprocess
import sys

import numpy as np
import pytest

import qbjax as qb
from qbjax.__main__ import main

SCRIPT = """
import sys
import qbjax as qb
place = qb.use_cache()
import jax
import jax.numpy as jnp
if len(sys.argv) > 1:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append("cache_hits" in name))
value = jax.jit(lambda x: jnp.sum(jnp.sin(x) ** 2))(jnp.arange(64.0))
print(f"{value:.12f} {sum(hits)} {place}")
"""
VALUE = f"{np.sum(np.sin(np.arange(64.0)) ** 2):.9f}"
PLAIN = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "QBJAX_"))}


def start(cache, *arguments):
    command = [sys.executable, "-c", SCRIPT, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=PLAIN | {"QBJAX_CACHE": str(cache)}, **pipes)


def finish(process):
    """The value, how many programs were found in the cache, and where that is."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert err == ""
    value, hits, place = out.split()
    assert value.startswith(VALUE)
    return int(hits), place


def entries(cache):
    return sorted(cache.glob("*/*-cache"))


def test_the_next_process_finds_the_programs_and_damaged_ones_are_compiled_again(tmp_path):
    hits, place = finish(start(tmp_path))
    assert hits == 0
    assert str(tmp_path) in place
    kept = entries(tmp_path)
    assert kept
    assert finish(start(tmp_path))[0] == len(kept)
    assert entries(tmp_path) == kept
    for i, entry in enumerate(kept):
        content = entry.read_bytes()
        entry.write_bytes(b"" if i % 2 else content[: len(content) // 2] + b"\0damaged")
    assert finish(start(tmp_path))[0] == 0


def test_two_processes_at_once(tmp_path):
    both = [start(tmp_path), start(tmp_path)]
    for process in both:
        finish(process)
    assert finish(start(tmp_path))[0] == len(entries(tmp_path))


def test_where_nothing_can_be_written_there_is_no_cache(tmp_path):
    (tmp_path / "file").write_text("no directory")
    assert finish(start(tmp_path / "file" / "cache")) == (0, "None")
    assert finish(start("0")) == (0, "None")
    # A full disk: an entry is longer than this.
    assert finish(start(tmp_path / "full", "300"))[0] == 0


def test_the_command_line_uses_it(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(qb, "use_cache", lambda: asked.append(True))
    assert main(["info"]) == 0
    assert asked == [True]


def test_importing_alone_uses_none():
    script = "import jax, qbjax; print(jax.config.jax_compilation_cache_dir)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=PLAIN
    )
    assert done.stdout.split() == ["None"]


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "HOME"])
def test_the_directory_of_the_user(variable, tmp_path, monkeypatch):
    monkeypatch.delenv("QBJAX_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    from qbjax.common import cache

    monkeypatch.setattr(cache.jax.config, "update", lambda *_: None)
    place = qb.use_cache()
    assert place is not None
    assert place.is_relative_to(tmp_path)
    assert place.parent.name == "qbjax"


def test_the_variable_takes_the_place_of_the_argument(tmp_path, monkeypatch):
    monkeypatch.setenv("QBJAX_CACHE", str(tmp_path / "variable"))
    program = (
        "import pathlib, qbjax as qb; "
        f"print(qb.use_cache(pathlib.Path({str(tmp_path)!r}) / 'argument').parent.name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["variable"]
