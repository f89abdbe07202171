"""What is written to a terminal that is gone."""

from __future__ import annotations

import io

from tui.terminal import LossyFile


class Breaking(io.StringIO):
    """Breaks at the second write, as a terminal's descriptor does after a hang-up."""

    def write(self, text: str) -> int:
        if self.getvalue():
            raise OSError(5, "Input/output error")
        return super().write(text)


def test_what_comes_after_the_loss_is_dropped() -> None:
    terminal = Breaking()
    file = LossyFile(terminal)
    assert file.write("seen") == 4
    assert not file.lost.is_set()
    assert file.write("unseen") == 6
    assert file.lost.is_set()
    file.flush()
    assert terminal.getvalue() == "seen"
