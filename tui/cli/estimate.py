"""estimate: how much memory a training would take, part by part, before anything is loaded.

``--probe`` loads it, and runs the longest batch once: what is measured stands beside the estimate.
"""

from __future__ import annotations

from core.config.errors import InputError
from core.config.schema import RunConfig
from core.model import fits
from core.model.fits import Fit
from core.run import probe
from core.run.probe import Figures
from tui import numbers
from tui.cli.check import configuration
from tui.cli.parser import Asked
from tui.memory import verdict

_LARGEST_GIB = 4096
_LARGEST_RAM_GIB = 65536
_ABOUT = {
    "weights": "the base's layers, as they are stored",
    "head": "output head, not quantized",
    "embedding": "not quantized",
    "adapter": "what learns, in fp32",
    "gradients": "of the adapter",
    "optimizer": "moments of Adam; a paged one can move to RAM",
    "activations": "kept for the backward pass",
    "layer": "the layer that the backward pass is at",
    "loss": "what the loss needs beyond that",
    "scratch": "dequantized weights, products' workspace, logits (fused)",
    "context": "CUDA, its kernels and page tables, gaps between tensors",
}


def show(asked: Asked) -> int:
    """Print the parts and whether they fit; ``--json``: one object, in bytes."""
    config = configuration(asked)
    if not config.model.name_or_path:
        raise InputError(
            "no model is named",
            kind="no_model",
            remedies=("set model.name_or_path to a model folder or a hub id",),
        )
    fit = fits.reckon(config, *_machine(asked))
    if fit is None:
        raise InputError(
            f"the config.json of {config.model.name_or_path} does not tell its sizes",
            kind="unknown_shape",
            remedies=("it needs hidden_size, num_hidden_layers and vocab_size",),
        )
    measured = _probed(config, asked, fit)
    asked.out.document(_document(fit) | ({"probe": measured} if measured else {}))
    _print(fit, asked)
    if measured:
        _print_probe(measured, fit, asked)
    return 0


def _machine(asked: Asked) -> tuple[int | None, int | None]:
    """Bytes of the GPU and of RAM to reckon for; None for those of this machine, or for any."""
    card, ram = asked.options.gib, asked.options.ram
    if card is not None and not 0 < card <= _LARGEST_GIB:
        raise InputError(f"--gib {card:g} is no size of a GPU", kind="bad_value")
    if ram is not None and not 0 < ram <= _LARGEST_RAM_GIB:
        raise InputError(f"--ram {ram:g} is no amount of RAM", kind="bad_value")
    if ram is not None and card is None:
        raise InputError(
            "--ram is the RAM beside the GPU of --gib: this machine has its own",
            kind="bad_value",
            remedies=("say with --gib how much memory that GPU has, or leave --ram out",),
        )
    card_bytes, ram_bytes = (None if n is None else int(n * numbers.GIB) for n in (card, ram))
    return card_bytes, ram_bytes


def _probed(config: RunConfig, asked: Asked, fit: Fit) -> Figures | None:
    if not asked.options.probe:
        return None
    if asked.options.gib is not None:
        raise InputError(
            "--probe measures on this machine, --gib reckons for another: take one of them",
            kind="bad_value",
        )
    asked.out.note(f"probing on {fit.device}: loading the model, then the longest batch")
    return probe.probe(config)


def _print_probe(measured: Figures, fit: Fit, asked: Asked) -> None:
    out, estimate = asked.out, fit.estimate
    rows = [("RAM of the process", measured["ram_bytes"], None if fit.on_gpu else estimate.total)]
    if fit.on_gpu:
        rows.append(("GPU, by torch", measured["allocated_bytes"], estimate.allocated))
        rows.append(("GPU, by NVML", measured["device_bytes"], estimate.total))
    out.say()
    out.table(
        ("measured", "     GiB", "estimated"),
        [(name, _gib(found), _gib(reckoned)) for name, found, reckoned in rows],
    )
    speed = measured["tokens"] / measured["step_seconds"] if measured["step_seconds"] else 0
    evaluated = measured["eval_seconds"]
    other = measured["path"] != estimate.path
    why = f" ({measured['why']}; estimated for {estimate.path})" if other else ""
    out.say(
        f"{measured['path']}{why}: loaded in {measured['load_seconds']:.0f} s, "
        f"{measured['tokens']:,} tokens in {measured['step_seconds']:.2f} s ({speed:,.0f} a second)"
        + (f", evaluation {evaluated:.2f} s" if evaluated is not None else "")
    )


def _gib(size: int | None) -> str:
    return "not told" if size is None else f"{size / numbers.GIB:8.3f}"


def _document(fit: Fit) -> dict[str, object]:
    found = fit.estimate
    return {
        "total_bytes": found.total, "allocated_bytes": found.allocated, "parts_bytes": found.parts,
        "path": found.path, "why": found.why, "notes": found.notes, "device": fit.device,
        "free_bytes": fit.free_bytes, "fits": fit.fits,
        "host_bytes": found.host if fit.on_gpu else found.total,
        "reason": "" if fit.fits else verdict(fit),
    }  # fmt: skip


def _print(fit: Fit, asked: Asked) -> None:
    found, out = fit.estimate, asked.out
    rows = [
        (name, f"{size / numbers.GIB:8.3f}", "in RAM" if name in found.in_ram else _ABOUT[name])
        for name, size in found.parts.items()
    ]
    rows.append(("total", f"{found.total / numbers.GIB:8.3f}", "at the peak, estimated"))
    out.table(("part", "     GiB", "what"), rows)
    out.say()
    out.say(f"path: {found.path}" + (f" ({found.why})" if found.why else ""))
    for note in found.notes:
        out.say(f"note: {note}", "yellow")
    out.say(verdict(fit), "green" if fit.fits else "yellow")
