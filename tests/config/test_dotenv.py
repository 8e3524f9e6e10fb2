"""The `.env` file, as people write it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import dotenv
from tests.config.test_settings import load, value_of

SECRET = "sk-live-0123456789"


@pytest.mark.parametrize(
    ("content", "variables"),
    [
        ("A=1\nB=2", {"A": "1", "B": "2"}),
        ("A = 1\n  B\t=\t2  \n", {"A": "1", "B": "2"}),
        ("export A=1\nexport\tB = 2", {"A": "1", "B": "2"}),
        ("\ufeffA=1\n", {"A": "1"}),
        ("\ufeff# a comment\nA=1\n", {"A": "1"}),
        ("A=1\r\nB='2'\r\n", {"A": "1", "B": "2"}),
        ("A=\"x y\"\nB='x \" y'", {"A": "x y", "B": 'x " y'}),
        ('A="say \\"hi\\"\\n"', {"A": 'say "hi"\n'}),
        ("A='a\\n'", {"A": "a\\n"}),
        ("A=a=b==\n", {"A": "a=b=="}),
        ("A=\nB = \nC=''", {"A": "", "B": "", "C": ""}),
        ("# A=1\n\n   # B=2\n", {}),
        ("A=1 # one\nB='2' # two", {"A": "1", "B": "2"}),
        ("A=a#b\nB=#none", {"A": "a#b", "B": ""}),
        ("A=1\nA=2", {"A": "1"}),
        ("A=\u2028x\nB=\x0c", {"A": "x", "B": ""}),
        ("export=1", {"export": "1"}),
    ],
)  # fmt: skip
def test_a_line_is_read_however_it_is_written(
    content: str, variables: dict[str, str]
) -> None:
    assert dotenv.parse(content.encode()) == variables


@pytest.mark.parametrize(
    "line",
    [
        f"OPENAI_API_KEY {SECRET}",
        f"OPENAI_API_KEY: {SECRET}",
        f"OPENAI-API-KEY={SECRET}",
        f"1KEY={SECRET}",
        f'KEY="{SECRET}',
        f"KEY='{SECRET}' and more",
        f'KEY="{SECRET}\\"',
        f"={SECRET}",
        f"KEY={SECRET}\0",
        SECRET,
    ],
)
def test_a_line_that_cannot_be_read_stops_the_start_by_its_number(
    tmp_path: Path, line: str
) -> None:
    file = tmp_path / "some.env"
    file.write_text(f"# one\nPORT=4000\n{line}\nHOST=::1\n")

    done = load(LLMCHAT_ENV_FILE=str(file))

    assert done.returncode == 1
    assert done.stderr == (
        f"llmchat: line 3 of {file} cannot be read: write NAME=value\n"
    )


@pytest.mark.parametrize("content", ["PORT=4000\n".encode("utf-16"), b"A=1\nB=\xff"])
def test_a_file_that_is_no_utf8_stops_the_start(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "some.env"
    file.write_bytes(content)

    done = load(LLMCHAT_ENV_FILE=str(file))

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "cannot be read" in done.stderr


def test_the_settings_take_what_the_file_says(tmp_path: Path) -> None:
    file = tmp_path / "some.env"
    file.write_text("\ufeffexport PORT = '4000' # not 3000\nHOST =192.0.2.1\n")

    values = value_of("[s.PORT, s.HOST]", LLMCHAT_ENV_FILE=str(file))

    assert values == [4000, "192.0.2.1"]


@given(st.binary(max_size=200))
def test_garbage_is_read_or_refused(content: bytes) -> None:
    number = 1
    try:
        variables = dotenv.parse(content)
    except dotenv.LineError as exc:
        number, variables = exc.number, {}

    assert 1 <= number <= content.count(b"\n") + 1
    assert all(isinstance(value, str) for value in variables.values())


@given(st.text(st.characters(exclude_characters="\0\r\n", codec="utf-8")))
def test_what_is_quoted_comes_back(value: str) -> None:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')

    assert dotenv.parse(f'A = "{escaped}"'.encode()) == {"A": value}


# --- Misspelt names ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("LLMCHAT_MESAGES_PER_MINUTE", "LLMCHAT_MESSAGES_PER_MINUTE"),
        ("LLMCHAT_DRAIN_SECONDS", "LLMCHAT_DRAIN_S"),
        ("LLMCHAT_ENCRYPTION_KEY", "LLMCHAT_ENCRYPTION_KEYS"),
        ("LLMCHAT_DEMO_PASWORD", "LLMCHAT_DEMO_PASSWORD"),
    ],
)
def test_a_misspelt_name_is_told_with_the_nearest(name: str, told: str) -> None:
    done = load(**{name: SECRET})

    assert done.returncode == 0
    assert done.stderr == (f"llmchat: {name} is not a setting: did you mean {told}?\n")


def test_a_misspelt_name_in_the_file_is_told_too(tmp_path: Path) -> None:
    file = tmp_path / "some.env"
    file.write_text("LLMCHAT_REGISTRATON=1\n")

    done = load(LLMCHAT_ENV_FILE=str(file))

    assert "LLMCHAT_REGISTRATON" in done.stderr
    assert "did you mean LLMCHAT_REGISTRATION?" in done.stderr


def test_names_of_others_are_left_alone() -> None:
    done = load(
        LLMCHAT_SERVICE_HOST="10.0.0.1",
        LLMCHAT_PORT="tcp://10.0.0.1:80",
        LLMCHAT_PORT_80_TCP_ADDR="10.0.0.1",
        LLMCHAT_CHROMIUM="/usr/bin/chromium",
        LLMCHAT_LOCAL_LOG="/tmp/model.log",
        LLMCHAT_DEMO_PASSWORD="x",
    )

    assert done.stderr == ""
