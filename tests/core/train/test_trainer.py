"""The job as the engine runs it: from files to an adapter, in a process that may be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from core.config.errors import InputError
from core.config.files import dump
from core.config.schema import RunConfig
from core.model.adapters import load_adapter
from core.model.load import load_base
from core.record import events as ev
from core.record.folder import RunFolder, create
from core.record.job import Job
from core.record.journal import read
from core.train import checkpoint, trainer

if TYPE_CHECKING:
    from conftest import Lab

pytestmark = pytest.mark.trains

ENGINE = """
import sys, torch
from pathlib import Path
from core.config.files import load
from core.record.folder import RunFolder
from core.record.journal import Journal
from core.run.engine import Engine
torch.set_num_threads(1)
folder = RunFolder(Path(sys.argv[1]))
engine = Engine(folder, load(folder.config).config, Journal(folder.events, attempt=1))
engine.start("train")
engine.ended.wait()
sys.exit(engine.outcome != "finished")
"""


def chats(path: Path, count: int) -> Path:
    rows = [
        {"instruction": f"Say the number after {n}.", "output": f"It is {n + 1}."}
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def settings(lab: Lab, data: Path) -> RunConfig:
    config = lab.config({"train.save_steps": 2, "train.max_steps": 8})
    config.data.files = [str(data)]
    config.data.max_length = 128
    return config


def test_from_a_file_to_an_adapter_and_killed_on_the_way(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real kill -9 in the middle of the training, then a resume in another process (this)."""
    config = settings(lab, chats(tmp_path / "rows.jsonl", 40))
    whole, killed = (create(tmp_path, name, dump(config)) for name in ("whole", "killed"))
    engine = subprocess.Popen(
        [sys.executable, "-c", ENGINE, str(killed.path)],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not list(killed.path.glob("checkpoint-2")) and engine.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    engine.send_signal(signal.SIGKILL)
    assert engine.wait() == -signal.SIGKILL
    before = checkpoint.newest_verified(killed.path).step
    assert before >= 2
    told = [r.event for r in read(killed.events)]
    assert any(isinstance(event, ev.DataPrepared) for event in told)

    monkeypatch.setattr(lab, "frozen", lab.real_frozen_data)
    resumed = lab.train(killed, config, attempt=2)
    assert resumed.of(ev.Resumed)[0].from_step == before
    assert resumed.of(ev.Resumed)[0].tier == "E", resumed.of(ev.Resumed)[0].reasons
    assert resumed.sha256 == lab.train(whole, config).sha256
    assert (whole.path / "fingerprint.json").read_text() == (
        killed.path / "fingerprint.json"
    ).read_text()


def test_the_adapter_can_be_loaded_and_changes_the_model(lab: Lab, tmp_path: Path) -> None:
    folder, config = lab.run("loaded", {"train.max_steps": 3, "train.save_steps": 0})
    outcome = lab.train(folder, config)
    assert outcome.error is None, outcome.error
    base = load_base(config, quantized=True, device="cpu")
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        plain = base(tokens).logits
        tuned = load_adapter(base, folder.adapter)(tokens).logits
    assert (tuned - plain).abs().max() > 1e-3
    lora = json.loads((folder.adapter / "adapter_config.json").read_text())
    assert lora["base_model_name_or_path"] == str(lab.model)


def test_without_an_evaluation_the_last_adapter_is_delivered(lab: Lab) -> None:
    folder, config = lab.run("blind", {"train.max_steps": 2, "evaluate.eval_strategy": "no"})
    outcome = lab.train(folder, config)
    assert outcome.result["adapter_step"] == 2
    assert "eval_loss" not in outcome.result


def test_a_run_that_was_never_prepared_prepares_first(lab: Lab, tmp_path: Path) -> None:
    config = settings(lab, tmp_path / "nothing.jsonl")
    folder: RunFolder = create(tmp_path, "empty", dump(config))
    with pytest.raises(InputError, match=r"nothing\.jsonl"):
        trainer.train(Job("train", folder, config, lambda event: None))
    assert not folder.data.exists()
    assert not folder.fingerprint.exists()


@pytest.mark.parametrize("kind", ["mixtral", "llama4_text", "gemma3"])
def test_models_beside_the_fused_path_train(lab: Lab, tmp_path: Path, kind: str) -> None:
    """Two steps, a mixture of experts or a model that takes images; the reason is in the log."""
    import shutil

    from transformers import AutoConfig, AutoModelForCausalLM

    small = {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 259,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
        "pad_token_id": 256, "bos_token_id": None, "eos_token_id": 258,
    }  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
              "num_attention_heads": 2, "image_size": 28, "patch_size": 14}  # fmt: skip
    values = {
        "mixtral": small | {"num_local_experts": 2},
        "llama4_text": small
        | {"head_dim": 16, "num_local_experts": 2, "intermediate_size_mlp": 128},
        "gemma3": {"text_config": small | {"head_dim": 16}, "vision_config": vision,
                   "mm_tokens_per_image": 4},
    }[kind]  # fmt: skip
    folder = shutil.copytree(lab.model, tmp_path / kind)
    (folder / "model.safetensors").unlink()
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **values))
    model.to(torch.bfloat16).save_pretrained(folder)
    run, config = lab.run(f"beside-{kind}", {"train.max_steps": 2, "adapter.r": 4})
    config.model.name_or_path = str(folder)
    outcome = lab.train(run, config)
    assert outcome.error is None, outcome.error
    loaded = outcome.of(ev.ModelLoaded)[0]
    assert loaded.path == "PEFT"
    assert ("mixture of experts" in loaded.why) == (kind != "gemma3")
    assert len(outcome.of(ev.StepDone)) == 2
