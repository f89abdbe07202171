from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from core.config.errors import FailedError, InputError, RefusedError
from core.config.schema import RunConfig
from core.deliver.merge import merge
from core.model.adapters import attach, load_adapter
from core.model.load import load_base, load_tokenizer
from core.record.commands import Aborted
from core.record.events import AnswersCompared, Event, LineLogged, Merged, SampleGenerated
from core.record.folder import RunFolder
from core.record.job import Job

torch.set_num_threads(1)
IDS = torch.arange(60).reshape(1, 60)


@pytest.fixture
def config(tiny_model: Path) -> RunConfig:
    values = {
        "model": {"name_or_path": str(tiny_model)},
        "run": {"devices": "cpu"},
        "evaluate": {"max_new_tokens": 4},
    }
    return RunConfig.model_validate(values)


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def job(config: RunConfig, tmp_path: Path, events: list[Event]) -> Job:
    """A run in which an adapter was trained that really changes the model."""
    folder = RunFolder(tmp_path / "my run")
    folder.data.mkdir(parents=True)
    save_adapter(config, folder.adapter)
    return Job("merge", folder, config, events.append)


def save_adapter(config: RunConfig, path: Path, value: float | None = None) -> None:
    adapted = attach(load_base(config, quantized=True, device="cpu"), config)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(0, 0.05)
                if value is not None:
                    parameter.data.fill_(value)
    adapted.save_pretrained(path)


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        output: torch.Tensor = model(input_ids=IDS).logits
        return output.float()


def leftovers(job: Job) -> list[Path]:
    return list(job.folder.path.glob(".merged-staging-*"))


def test_merged_equals_base_and_adapter(job: Job, config: RunConfig, events: list[Event]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    result = merge(job)
    base = load_base(config, quantized=False, device="cpu", dtype=torch.bfloat16)
    plain = logits(base)
    tuned = logits(load_adapter(base, job.folder.adapter))
    model = AutoModelForCausalLM.from_pretrained(job.folder.merged)
    merged = logits(model)
    assert model.dtype == torch.bfloat16
    assert (tuned - plain).abs().max() > 10 * (merged - tuned).abs().max()
    assert (merged - tuned).abs().max() < 0.05 * tuned.abs().max()
    assert isinstance(result["logit_difference"], float)

    tokenizer = AutoTokenizer.from_pretrained(job.folder.merged)
    own = AutoTokenizer.from_pretrained(config.model.name_or_path)
    chat = [{"role": "user", "content": "Hi"}]
    assert tokenizer.apply_chat_template(chat) == own.apply_chat_template(chat)
    out = model.generate(IDS, max_new_tokens=3, do_sample=False)
    assert out.shape[1] > 60

    event = next(e for e in events if isinstance(e, Merged))
    files = list(job.folder.merged.iterdir())
    assert event.path == result["path"] == str(job.folder.merged)
    assert event.size_bytes == sum(f.stat().st_size for f in files) > 2_600_000
    assert event.serve_command == f"vllm serve '{event.path}' --served-model-name 'my run'"
    assert not leftovers(job)


def test_merged_files_can_be_read_by_a_server(job: Job) -> None:
    merge(job)
    assert job.folder.merged.stat().st_mode & 0o777 == 0o755
    modes = {path.name: path.stat().st_mode & 0o777 for path in job.folder.merged.iterdir()}
    assert set(modes.values()) == {0o644}
    assert {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json", "chat_template.jinja",
    } <= modes.keys()  # fmt: skip
    settings = json.loads((job.folder.merged / "config.json").read_text())
    assert settings["use_cache"] is True
    assert "quantization_config" not in settings


def test_tokenizer_files_are_the_bases_own(job: Job, tiny_model: Path) -> None:
    merge(job)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (job.folder.merged / name).read_bytes() == (tiny_model / name).read_bytes()


def test_the_template_that_was_trained_goes_along(
    job: Job, tiny_model: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny_model, tmp_path / "model")
    (copy / "chat_template.jinja").unlink()
    # A generation config that save_pretrained refuses: sampling numbers without sampling.
    path = copy / "generation_config.json"
    values = json.loads(path.read_text()) | {"do_sample": False, "temperature": 0.5}
    path.write_text(json.dumps(values))
    job.config.model.name_or_path = str(copy)
    merge(job)
    template = (job.folder.merged / "chat_template.jinja").read_text()
    assert template == load_tokenizer(job.config).chat_template
    assert "### Instruction" in template
    merged = json.loads((job.folder.merged / "generation_config.json").read_text())
    assert merged["temperature"] == 0.5


def test_held_out_rows_are_compared(job: Job, events: list[Event]) -> None:
    row = {"messages": [{"role": "user", "content": "Hi"}], "expected": "Ho"}
    (job.folder.data / "heldout.jsonl").write_text(json.dumps(row) + "\n")
    result = merge(job)
    assert (result["rows"], result["base_matches"], result["merged_matches"]) == (1, 0, 0)
    names = [type(event).__name__ for event in events]
    assert names.index("Merged") < names.index("SampleGenerated") < names.index("AnswersCompared")
    assert [e.model for e in events if isinstance(e, SampleGenerated)] == ["base", "merged"]
    assert (job.folder.evaluation / "comparison.jsonl").is_file()


def test_a_comparison_that_fails_leaves_the_merge(job: Job, events: list[Event]) -> None:
    row = {"messages": [{"role": "user", "content": "Hi"}], "expected": "Ho"}
    (job.folder.data / "heldout.jsonl").write_text(json.dumps(row) + "\nbroken\n")
    result = merge(job)
    assert job.folder.merged.is_dir()
    assert "rows" not in result
    assert not any(isinstance(event, AnswersCompared) for event in events)
    logged = [e for e in events if isinstance(e, LineLogged) and e.level == "warning"]
    assert "line 2 is no held-out row" in logged[-1].text


def test_an_existing_merge_is_never_overwritten(job: Job) -> None:
    job.folder.merged.mkdir()
    (job.folder.merged / "mine").touch()
    with pytest.raises(RefusedError) as caught:
        merge(job)
    assert caught.value.kind == "merged_exists"
    assert [path.name for path in job.folder.merged.iterdir()] == ["mine"]


def test_without_an_adapter_training_comes_first(job: Job) -> None:
    shutil.rmtree(job.folder.adapter)
    with pytest.raises(InputError) as caught:
        merge(job)
    assert caught.value.kind == "no_adapter"
    assert "train first" in caught.value.remedies[0]


def test_too_little_memory_is_refused_with_numbers(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.deliver.merge.free_memory_bytes", lambda: 100 << 20)
    with pytest.raises(FailedError, match=r"needs 1\.0 GiB of memory .* 0\.1 GiB are free") as no:
        merge(job)
    assert no.value.kind == "no_memory"


def test_too_little_disk_is_refused_with_numbers(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "core.deliver.merge.shutil.disk_usage", lambda _: SimpleNamespace(free=100 << 20)
    )
    with pytest.raises(FailedError, match=r"needs 0\.3 GiB and 0\.1 GiB are free") as no:
        merge(job)
    assert no.value.kind == "no_disk"
    assert not leftovers(job)


@pytest.fixture
def file_size_limit() -> Iterator[Callable[[int], None]]:
    """Lets a test make every longer write of this process fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_while_writing_leaves_nothing(
    job: Job, file_size_limit: Callable[[int], None]
) -> None:
    file_size_limit(1_000_000)
    with pytest.raises(FailedError, match="became full while the model was written") as no:
        merge(job)
    assert no.value.kind == "no_disk"
    assert not leftovers(job)
    assert not job.folder.merged.exists()


def test_an_abort_leaves_nothing(job: Job, events: list[Event]) -> None:
    def emit(event: Event) -> None:
        events.append(event)
        if getattr(event, "stage", "") == "verifying":
            job.control.take("Abort")

    job.emit = emit
    with pytest.raises(Aborted):
        merge(job)
    assert not leftovers(job)
    assert not job.folder.merged.exists()


def test_what_a_killed_merge_left_is_cleared(job: Job) -> None:
    old = job.folder.path / ".merged-staging-1"
    old.mkdir()
    (old / "half").touch()
    merge(job)
    assert not leftovers(job)
    assert job.folder.merged.is_dir()


def test_an_adapter_of_nan_is_not_merged(job: Job, config: RunConfig) -> None:
    shutil.rmtree(job.folder.adapter)
    save_adapter(config, job.folder.adapter, float("nan"))
    with pytest.raises(FailedError, match="NaN or infinity in 14 tensors") as caught:
        merge(job)
    assert caught.value.kind == "nan_adapter"
    assert not job.folder.merged.exists()


def test_a_merge_that_lost_the_adapter_is_noticed(
    job: Job, config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft.tuners.lora import Linear

    monkeypatch.setattr(Linear, "merge", lambda self: None)
    with pytest.raises(FailedError) as caught:
        merge(job)
    assert caught.value.kind == "merge_differs"
    assert not job.folder.merged.exists()
    assert not leftovers(job)


def test_the_base_is_not_touched(job: Job, tiny_model: Path) -> None:
    before = {path.name: path.read_bytes() for path in tiny_model.iterdir()}
    merge(job)
    assert {path.name: path.read_bytes() for path in tiny_model.iterdir()} == before


def test_dora_merges_too(job: Job, config: RunConfig) -> None:
    shutil.rmtree(job.folder.adapter)
    config.adapter.use_dora = True
    save_adapter(config, job.folder.adapter)
    assert merge(job)["path"] == str(job.folder.merged)
