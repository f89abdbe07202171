"""Words tell the encoding: Latin-1 stays Latin-1, other languages are not garbled and kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.config.errors import InputError
from core.data.read.alphabets import example, judge
from core.data.read.sources import Rejected, Row, Source, read_rows

WESTERN = {
    "de": (
        "Können Sie mir bitte erklären, wie man eine Überweisung tätigt?",
        "Das Mädchen läuft über die große Brücke.",
        "„Natürlich“, sagte er, „das wäre schön – aber später.“",
    ),
    "fr": (
        "Où est la bibliothèque ? Elle est près de l’église.",
        "L'œuvre complète coûte 25 € à peu près.",
        "« Voilà », dit-elle, « le cœur a ses raisons ».",
    ),
    "es": (
        "¿Dónde está la estación de tren más cercana?",
        "El niño comió una manzana en el jardín.",
        "¡Qué día tan hermoso! El corazón está contento.",
    ),
    "pt": (
        "A informação está disponível na página três.",
        "O coração da cidade é a praça de São João.",
        "A solução não é fácil, mas é possível.",
    ),
    "da": (
        "Rødgrød med fløde er en dansk ret.",
        "Hvor ligger den nærmeste købmand på øen?",
        "Børnene løb over gaden på vej til skole.",
    ),
    "it": (
        "La città è bellissima, perché c'è il mare.",
        "Può dirmi dov'è l'università?",
        "Però non so se verrà più tardi.",
    ),
    "sv": ("Var är närmaste järnvägsstation?", "Räksmörgås är gott på söndagar."),
    "is": ("Það er gott veður í dag á Íslandi.", "Hvar er næsta búð? Ég þarf að kaupa mjólk."),
    "en": (
        "The café’s menu includes crème brûlée and jalapeño poppers.",
        "It’s “really” good — she said – don’t worry…",
        "Copyright © 2020 Acme™. The price is £5, about €6, at 20°C.",
    ),
}
OTHERS = {
    "cp1250": (
        "Dziękuję bardzo za szybką odpowiedź.",
        "Książka leży na stole obok świecy.",
        "Chciałbym zamówić kawę i ciastko.",
    ),
    "iso8859_2": (
        "Příliš žluťoučký kůň úpěl ďábelské ódy.",
        "Můj bratr bydlí v Praze už pět let.",
        "Kde je nejbližší vlakové nádraží?",
    ),
    "cp1254": (
        "Hızlı cevabınız için çok teşekkür ederim.",
        "Kardeşim beş yıldır İstanbul'da yaşıyor.",
        "Lütfen motorun nasıl çalıştığını açıklayın.",
    ),
    "cp1257": (
        "Kur yra artimiausia geležinkelio stotis?",
        "Ačiū už greitą atsakymą, šiandien oras labai gražus.",
        "Mano brolis gyvena Vilniuje jau penkerius metus.",
    ),
}


@pytest.mark.parametrize("language", WESTERN)
@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.csv"])
def test_western_texts_in_latin_1_are_read(language: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    texts = WESTERN[language]
    raw = {
        "a.jsonl": "".join(f'{{"prompt": "{text}"}}\n' for text in texts),
        "a.txt": "\n\n".join(texts),
        "a.csv": "prompt\n" + "\n".join(f'"{text}"' for text in texts),
    }[name]
    path.write_bytes(raw.encode("cp1252"))
    found: list[Source] = []
    rows = list(read_rows([path], on_file=found.append))
    assert [next(iter(row.value.values())) for row in rows if isinstance(row, Row)] == list(texts)
    assert found[0].encoding == "cp1252"
    assert not found[0].doubt


@pytest.mark.parametrize("letter", "éüñ§")
def test_one_letter_in_a_file_is_enough(letter: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    word = "caf\u00e9".replace("é", letter) if letter != "§" else "see § 5"
    lines = ['{"prompt": "a plain question", "completion": "a plain answer"}'] * 20
    path.write_bytes("\n".join([*lines, f'{{"text": "{word}"}}', *lines]).encode("cp1252"))
    *_, row = [row for row in read_rows([path]) if isinstance(row, Row) and "text" in row.value]
    assert row.value == {"text": word}


@pytest.mark.parametrize("encoding", OTHERS)
def test_other_languages_are_refused_with_the_encoding_to_convert_from(
    encoding: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    texts = OTHERS[encoding]
    path.write_bytes("".join(f'{{"prompt": "{text}"}}\n' for text in texts).encode(encoding))
    with pytest.raises(InputError) as caught:
        list(read_rows([path]))
    assert caught.value.kind == "not_utf8"
    assert f"line 1 reads “{texts[0]}”" in caught.value.message
    shown = encoding.upper().replace("ISO8859_2", "ISO-8859-2")
    assert caught.value.remedies[0] == f"convert it: iconv -f {shown} -t UTF-8 OLD > NEW"


@pytest.mark.parametrize("language", ["de", "fr", "it", "pt", "da"])
def test_texts_of_old_macs_are_told_from_those_of_windows(language: str) -> None:
    raw = "\n".join(WESTERN[language]).encode("mac_roman", "ignore")
    assert judge([raw]).likely == "mac_roman"


def test_a_text_in_doubt_is_read_with_words_to_look_at(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        '{"text": "fine"}\n{"text": "Ő tegnap este későn jött haza."}\n'.encode("cp1250")
    )
    found: list[Source] = []
    assert len(list(read_rows([path], on_file=found.append))) == 2
    assert found[0].doubt == "line 2 reads “Õ tegnap este késõn jött haza.”"
    assert found[0].words.endswith(f"in doubt: {found[0].doubt}")
    assert "a.jsonl was read as Latin-1" in found[0].warning
    assert "iconv -f CP1250" in found[0].warning


def test_an_example_says_its_line_and_is_cut_around_the_letter() -> None:
    raw = b'{"a": "x"}\n{"a": "' + b"y " * 100 + "é\\nz".encode("cp1252") + b' w" }'
    line, words = example(raw, "cp1252")
    assert line == 2
    assert len(words) < 61
    assert words.endswith("y é z w")


def test_in_doubt_the_sentence_that_reads_worst_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    texts = ["Vielen Dank für die schöne Antwort.", "Łódź to duże miasto.", "Öl für später."]
    path.write_bytes("\n\n".join(texts).encode("cp1250"))
    found: list[Source] = []
    list(read_rows([path], on_file=found.append))
    assert found[0].doubt == "line 3 reads “£ódŸ to du¿e miasto.”"


def test_one_line_of_another_encoding_among_many_costs_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    odd = '{"text": "Caffè, città e perché: così è più università."}'.encode("mac_roman")
    path.write_bytes(b"\n".join([b'{"text": "plain"}'] * 20 + [odd]))
    *_, last = read_rows([path])
    assert isinstance(last, Rejected)
    assert last.reason == "not_utf8"
