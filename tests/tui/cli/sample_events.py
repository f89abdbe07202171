"""Events as a small training writes them."""

from __future__ import annotations

from core.record import events as ev


def step(number: int, loss: float = 1.5) -> ev.StepDone:
    return ev.StepDone(
        step=number, epoch=0.1, loss=loss, learning_rate=2e-4, grad_norm=0.4,
        tokens=100 * number, step_seconds=0.5, tokens_per_second=200.0,
    )  # fmt: skip


STARTED = ev.TrainingStarted(total_steps=2, from_step=0, epochs=1, steps_per_epoch=2)
SAVED = ev.CheckpointSaved(step=2, name="checkpoint-2", size_bytes=9, seconds=0.1, best=True)
FINISHED = ev.JobFinished(job="train", result={"adapter_sha256": "ab"})
STOPPED = ev.JobStopped(job="train", step=1, reason="asked", saved="checkpoint-1")
FAILED = ev.JobFailed(
    job="train", kind="out_of_memory", message="The GPU's memory is full",
    remedies=("lower data.max_length",),
)  # fmt: skip
MERGED = ev.Merged(
    path="/m", size_bytes=7_000_000, seconds=1.0, serve_command="vllm serve /m"
)  # fmt: skip
COMPARED = ev.AnswersCompared(rows=50, base_matches=3, merged_matches=48)
PREPARED = ev.DataPrepared(
    read=10, kept=9, rejected=1, train_rows=8, eval_rows=1, train_sequences=4, tokens=90,
    loss_tokens=40, truncated=0, sha256="cd",
)  # fmt: skip


def answered(name: str, *, accepted: bool = True, reason: str = "") -> ev.CommandAnswered:
    return ev.CommandAnswered(
        command_id=f"id-{name}", command=name, accepted=accepted, reason=reason
    )


def sample(model: str, text: str) -> ev.SampleGenerated:
    return ev.SampleGenerated(
        index=0, model=model, prompt="p", expected="", text=text, tokens=2, seconds=0.1
    )
