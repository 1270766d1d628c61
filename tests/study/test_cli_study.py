"""The `study` commands as scripts see them: exit statuses, documents, files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scripted import judge_all, make_folder

from goldeye.cli import run
from goldeye.study.settings import Study

NAMES = [f"photo-{number}" for number in range(5)]


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A=A B=B C=C in the working folder, beside gt and lr."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("A", "B", "C", "gt")):
        make_folder(Path(name), NAMES, seed)
    make_folder(Path("lr"), NAMES, 9, (8, 8))
    return ["A=A", "B=B", "C=C"]


def call(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = run(list(argv))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_from_creation_to_results(words, capsys):
    more = ["--reference", "gt", "--lr", "lr", "-n", "4", "--votes", "2", "--checks", "2", "--seed", "7"]
    code, out, _ = call(capsys, "study", "create", *words, "-o", "study", *more)
    assert code == 0
    assert "12 pairs of 4 pictures (5 there) by A, B, C; 2 people each, 2 attention checks" in out
    code, out, _ = call(capsys, "study", "invite", "study", "Ada", "--base-url", "https://study.example.org")
    assert code == 0
    assert out.startswith("https://study.example.org/#token=")
    code, _, err = call(capsys, "study", "invite", "study", "Ada")
    assert code == 2
    assert "--renew" in err
    judge_all(Study.open(Path("study")), {f"P{n}": lambda group, order: {min(order): "Preferred"} for n in range(2)})

    code, out, _ = call(capsys, "study", "results", "study", "-o", "out", "--bootstrap", "50")
    assert code == 0
    assert "24 of 24 votes" in out
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "chart.png",
        "chart.svg",
        "results.json",
        "summary.csv",
        "votes.csv",
    ]
    code, out, _ = call(capsys, "study", "results", "study", "--json", "--names", "--bootstrap", "50")
    document = json.loads(out)
    assert (code, document["schema"], document["votes"]) == (0, "goldeye.study/1", 24)
    assert [row["a_preferred"] for row in document["comparisons"]] == [8, 8, 8]
    assert set(document["per_person"]) == {"P0", "P1"}
    assert document["scores"]["prior"] == 0.5, "C never won"
    stored = json.loads(Path("out/results.json").read_text())
    assert set(stored["per_person"]).isdisjoint(document["per_person"])
    for form, begin in (("csv", "table,row,figure"), ("md", "Which picture"), ("json", '{"schema"')):
        code, out, _ = call(capsys, "study", "results", "study", "--format", form, "--bootstrap", "0")
        assert code == 0
        assert out.startswith(begin)


def test_results_are_written_over_results_of_the_same_study_alone(words, capsys, tmp_path):
    for name in ("study", "other"):
        assert call(capsys, "study", "create", *words, "-o", name, "--votes", "1", "--checks", "0")[0] == 0
        judge_all(Study.open(Path(name)), {"P": lambda group, order: {min(order): "Preferred"}})
    fast = ["--bootstrap", "0"]

    def written(study, output):
        code, out, err = call(capsys, "study", "results", study, "-o", output, *fast)
        if code:
            assert (code, out, len(err.splitlines()) <= 2) == (2, "", True), err
        return code == 0 or err

    for name in ("empty", "full", "odd", "broken"):
        Path(name).mkdir()
    Path("file").write_text("mine")
    for place in ("full/votes.csv", "full/notes.txt"):
        Path(place).write_text("mine")
    Path("odd/results.json").write_text("[1]")
    Path("broken/results.json").write_text("{")
    for name in ("file", "full", "odd", "broken", "A", "study"):
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert f"'{name}' is " in written("study", name)
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert written("study", "empty") is True
    assert written("study", "out") is True
    Path("out/summary.csv").unlink()
    Path("out/mine.txt").write_text("kept")
    assert written("study", "out") is True, "the same study's"
    assert Path("out/summary.csv").is_file()
    assert Path("out/mine.txt").read_text() == "kept"
    before = Path("out/results.json").read_bytes()
    assert "does not hold results of this study" in written("other", "out")
    assert Path("out/results.json").read_bytes() == before


def test_ratings_by_command(words, capsys):
    code, out, _ = call(capsys, "study", "create", *words, "-o", "mos", "--mos", "--reference", "gt", "--json")
    document = json.loads(out)
    assert (code, document["schema"], document["kind"]) == (0, "goldeye.study/1", "rating")
    assert (document["items"], document["votes_per_item"], document["checks"]) == (15, 20, 4)
    code, out, _ = call(capsys, "study", "results", "mos")
    assert (code, "0 of 300 votes" in out, "lower is better" in out) == (0, True, True)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["create", "A=A", "-o", "s"], "two methods"),
        (["create", "A=A", "B=A", "-o", "s"], "the same folder"),
        (["create", "A=A", "A=B", "-o", "s"], "Two methods are called 'A'"),
        (["create", "A", "B=B", "-o", "s"], "NAME=DIR"),
        (["create", "A=A", "B=B", "--mos", "-o", "s"], "--reference"),
        (["create", "A=A", "B=nowhere", "-o", "s"], "'nowhere'"),
        (["create", "A=A", "B=B", "-o", "A"], "there already"),
        (["create", "A=A", "B=B", "-o", "s", "--exclude", "gt"], "gt"),
        (["create", "A=A", "B=B", "-o", "s", "-n", "9"], "9 pictures"),
        (["create", "A=A", "B=B", "-o", "s", "--votes", "0"], "'--votes'"),
        (["create", "A=A", "B=B", "-o", "s", "--votes", "5000"], "'--votes'"),
        (["create", "A=A", "B=B", "-o", "s", "--checks", "-1"], "'--checks'"),
        (["create", "-o", "s"], "argument"),
        (["serve", "A"], "no study"),
        (["invite", "nowhere", "Ada"], "no study"),
        (["results", "A"], "no study"),
        (["results", "A", "--format", "pdf"], "pdf"),
        (["results", "A", "--bootstrap", "9" * 30], "'--bootstrap'"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_exit_2(words, capsys, argv, told):
    code, out, err = call(capsys, "study", *argv)
    assert (code, out) == (2, "")
    assert told.lower() in err.lower()
    assert "Traceback" not in err
    assert not Path("s").exists()
    code, out, _ = call(capsys, "study", *argv, "--json")
    assert code == 2
    assert json.loads(out)["schema"] == "goldeye.study/1"
    assert told.lower() in (json.loads(out)["error"]["message"] + str(json.loads(out)["error"]["hint"])).lower()


def test_serving_tells_the_owner_what_to_do(words, capsys, monkeypatch):
    """Where the server itself is another test's."""
    call(capsys, "study", "create", *words, "-o", "study")
    monkeypatch.setattr(
        "goldeye.annotate.run.serve", lambda app, host, port, opened, proxies: opened(f"http://{host}:1")
    )
    code, out, _ = call(capsys, "study", "serve", "study", "--json")
    found = json.loads(out)
    assert (code, found["schema"], found["items"], found["votes_wanted"]) == (0, "goldeye.study/1", 15, 180)
    assert found["owner_link"].startswith("http://127.0.0.1:1/owner#token=")
    assert found["warning"] is None
    code, out, _ = call(
        capsys, "study", "serve", "study", "--host", "0.0.0.0", "--base-url", "http://study.example.org"
    )
    assert "goldeye study invite study NAME --base-url http://study.example.org" in out
    assert "unencrypted" in out
    assert "/owner#token=" not in out, "the owner's link is told once"
    code, out, _ = call(capsys, "study", "serve", "study", "--renew")
    assert "http://127.0.0.1:1/owner#token=" in out
    code, _, err = call(capsys, "study", "serve", "study", "--host", "0.0.0.0")
    assert (code, "--base-url" in err) == (2, True)
    make_folder(Path("A"), NAMES[:1], 77)
    code, _, err = call(capsys, "study", "serve", "study")
    assert code == 2
    assert "have changed since it was created" in err
    assert f"{NAMES[0]}.png" in err
