"""Makes the ComfyUI host importable for scripts and tests, and boots its server.

`python -m tools.host --port 8188` starts the server; further arguments go to the host.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import runpy
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"


def folder() -> Path:
    """The host's folder: $HILO_COMFYUI_DIR, else the one that `make setup` unpacks."""
    return Path(os.environ.get("HILO_COMFYUI_DIR", CACHE / "ComfyUI")).resolve()


def _mend_torchvision() -> None:
    """A torchvision built for CUDA imports beside a CPU torch once its two operators are declared."""
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _mend_torchvision.library = library  # type: ignore[attr-defined]  # declared as long as it lives
        importlib.import_module("torchvision")


def _stand_in(attribute: str) -> type:
    if attribute.startswith("__"):
        raise AttributeError(attribute)
    return type(attribute, (), {})


def _mend_torchaudio() -> None:
    """Hosts from 0.29 import torchaudio at the top level; only their audio nodes use it."""
    if importlib.util.find_spec("torchaudio") is None:
        for name in ("torchaudio", "torchaudio.functional", "torchaudio.transforms"):
            module = types.ModuleType(name)
            module.__spec__ = importlib.machinery.ModuleSpec(name, None)
            module.__getattr__ = _stand_in  # type: ignore[method-assign]
            sys.modules[name] = module


def prepare() -> Path:
    """Put the host on sys.path, on a CPU if there is no GPU. Call before `import comfy`. Returns its folder."""
    host = folder()
    if not (host / "comfy").is_dir():
        raise SystemExit(f"No ComfyUI in {host}. Run: make setup")
    import torch

    _mend_torchvision()
    _mend_torchaudio()
    if str(host) not in sys.path:
        sys.path.insert(0, str(host))
    import comfy.options

    comfy.options.args_parsing = False
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()
    args.use_pytorch_cross_attention = True
    return host


def device() -> Any:
    """The torch device that the host computes on."""
    import comfy.model_management

    return comfy.model_management.get_torch_device()


def describe() -> str:
    """The device that a measurement ran on."""
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}"


def commit() -> str:
    """The commit that a measurement ran on; with a + when files had changed since; $HILO_COMMIT where git is not."""
    if named := os.environ.get("HILO_COMMIT"):
        return named
    asked = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True)
    return asked.stdout.strip() or "unknown"


def store(name: str, facts: dict[str, Any]) -> Path:
    """Write a result file into `lab/results`; paths in it are relative to the repository."""
    path = ROOT / "lab" / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(facts, indent=1).replace(f"{ROOT.as_posix()}/", "")
    path.write_text(text + "\n", encoding="utf-8")
    return path


def server_folder() -> Path:
    """Where a server writes; the servers of tests that run beside each other share nothing."""
    return CACHE / "server" / os.environ.get("PYTEST_XDIST_WORKER", "")


def server_arguments(port: int) -> list[str]:
    """Arguments for a headless server that writes only into the cache."""
    import torch

    arguments = ["--port", str(port), "--disable-auto-launch", "--use-pytorch-cross-attention"]
    for name in ("output", "temp", "user"):
        (server_folder() / name).mkdir(parents=True, exist_ok=True)
        arguments += [f"--{name}-directory", str(server_folder() / name)]
    arguments += ["--database-url", "sqlite:///:memory:", "--disable-api-nodes"]
    return arguments if torch.cuda.is_available() else ["--cpu", *arguments]


def main() -> None:
    """Run the host's main.py in this process."""
    host = folder()
    port = 8188
    rest = [argument for argument in sys.argv[1:] if argument != "--"]
    if "--port" in rest:
        at = rest.index("--port")
        port = int(rest[at + 1])
        del rest[at : at + 2]
    _mend_torchvision()
    _mend_torchaudio()
    sys.path.insert(0, str(host))
    sys.argv = [str(host / "main.py"), *server_arguments(port), *rest]
    os.chdir(host)
    runpy.run_path("main.py", run_name="__main__")


if __name__ == "__main__":
    main()
