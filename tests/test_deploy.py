"""The container's files, the workflow and docs/deploying.md against the application: names, paths, options, ports."""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from fastapi import FastAPI

from goldeye.annotate.database import Database
from goldeye.annotate.run import Address
from goldeye.annotate.server import running_server
from goldeye.cli import app
from goldeye.errors import InvalidInput

REPOSITORY = Path(__file__).parents[1]
DEPLOY = REPOSITORY / "deploy"
SETTING = re.compile(r"\$\{(\w+)[^}]*\}")
EXAMPLE = {"GOLDEYE_SITE": "labels.example.org", "GOLDEYE_DATASET": "/srv/dataset", "POSTGRES_PASSWORD": "secret"}


def text(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(SETTING.sub(lambda m: EXAMPLE[m[1]], text("deploy/compose.yaml")))
    return found


def instructions() -> list[tuple[str, str]]:
    """(instruction, the rest) of the Dockerfile, its continued lines joined."""
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text("deploy/Dockerfile"), flags=re.MULTILINE)).splitlines()
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines if line.strip()]


def parsed(words: list[str]) -> dict[str, Any]:
    """The values that the command line takes `goldeye WORDS` for; UsageError when it does not understand them."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("goldeye", list(words))
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, context._protected_args + context.args)
        context = command.make_context(name, rest, parent=context)
    return {"command": context.command_path, **context.params}


# The image ----------------------------------------------------------------------------------------------------------


def test_what_is_copied_is_there_and_not_ignored() -> None:
    kept = {line[1:] for line in text("deploy/Dockerfile.dockerignore").splitlines() if line.startswith("!")}
    copied = [rest.split()[:-1] for word, rest in instructions() if word == "COPY" and "--from" not in rest]
    names = {name for row in copied for name in row}
    assert names == kept
    assert all((REPOSITORY / name).exists() for name in names)
    project = tomllib.loads(text("pyproject.toml"))["project"]
    read = {Path(name).parts[0] for name in (project["readme"], *project["license-files"])}  # by the build
    assert read <= names


def test_what_is_installed_exists_and_is_enough() -> None:
    install = next(rest for word, rest in instructions() if word == "RUN" and "pip install" in rest)
    extras = re.search(r"'\.\[([\w,]+)\]'", install)
    assert extras is not None
    parts = tomllib.loads(text("pyproject.toml"))["project"]["optional-dependencies"]
    assert {"annotate", "labels"} <= set(extras[1].split(",")) <= set(parts)
    assert any(need.startswith("psycopg[binary]") for need in parts["scale"])
    assert "'psycopg[binary]'" in install
    assert "-c constraints.txt" in install
    assert re.search(r"^psycopg==", text("constraints.txt"), re.MULTILINE)


def test_the_server_is_no_root_and_python_is_new_enough() -> None:
    users = [rest for word, rest in instructions() if word == "USER"]
    assert users
    assert int(users[-1]) >= 1000
    project = tomllib.loads(text("pyproject.toml"))["project"]
    for word, rest in instructions():
        if word == "FROM":
            version = re.match(r"python:(\d+\.\d+)-slim", rest)
            assert version is not None
            assert f">={version[1]}" == project["requires-python"]
    assert instructions()[-1] == ("ENTRYPOINT", '["goldeye"]')


def test_the_health_check_tells_a_server_that_answers_from_one_that_does_not() -> None:
    check = next(rest for word, rest in instructions() if word == "HEALTHCHECK")
    python, flag, code = json.loads(check[check.index("[") :])
    assert (python, flag) == ("python", "-c")
    assert "127.0.0.1:8600/" in code
    site = FastAPI()
    site.get("/")(lambda: "here")
    with running_server(site) as address:
        here = [sys.executable, "-c", code.replace("http://127.0.0.1:8600", address)]
        assert subprocess.run(here, capture_output=True, check=False).returncode == 0
    assert subprocess.run(here, capture_output=True, check=False).returncode == 1


# Compose ------------------------------------------------------------------------------------------------------------


def test_every_setting_is_in_the_example_and_explained() -> None:
    used = set(SETTING.findall(text("deploy/compose.yaml")))
    example = {line.partition("=")[0] for line in text("deploy/example.env").splitlines() if line[0] != "#"}
    assert used == example == set(EXAMPLE)
    assert re.search(r"^POSTGRES_PASSWORD=$", text("deploy/example.env"), re.MULTILINE)  # none that somebody keeps


def test_the_servers_command_is_understood(compose: dict[str, Any]) -> None:
    server = compose["services"]["server"]
    found = parsed(server["command"])
    assert found["command"] == "goldeye annotate serve"
    target = server["volumes"][0].split(":")
    assert (target[0], Path(target[1]), target[2]) == (EXAMPLE["GOLDEYE_DATASET"], found["dataset"], "ro")

    address = Address(found["host"], found["port"], found["base_url"], tuple(found["trusted_proxy"]))
    assert address.encrypted
    assert EXAMPLE["GOLDEYE_SITE"] in address.hosts
    subnet = compose["networks"]["web"]["ipam"]["config"][0]["subnet"]
    assert [ipaddress.ip_network(proxy) for proxy in address.trusted_proxies] == [ipaddress.ip_network(subnet)]
    assert f"reverse_proxy server:{found['port']}" in text("deploy/Caddyfile")
    assert ("EXPOSE", str(found["port"])) in instructions()


def test_server_and_database_agree(compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    monkeypatch.setattr(Database, "_open", lambda self, read_only: opened.append(self.url))
    monkeypatch.setattr(Database, "read", lambda self: pytest.fail("only the address is looked at"))
    database = parsed(compose["services"]["server"]["command"])["database"]
    with pytest.raises(pytest.fail.Exception):
        Database(database)
    (url,) = opened
    variables = compose["services"]["database"]["environment"]
    assert url.host in compose["services"]
    assert (url.username, url.database) == (variables["POSTGRES_USER"], variables["POSTGRES_DB"])
    assert url.password is None  # libpq reads PGPASSWORD
    assert compose["services"]["server"]["environment"]["PGPASSWORD"] == variables["POSTGRES_PASSWORD"]
    health = compose["services"]["database"]["healthcheck"]["test"]
    assert {f"--username={url.username}", f"--dbname={url.database}"} <= set(health)


def test_only_the_proxy_can_be_reached_from_outside(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert [name for name, service in services.items() if "ports" in service] == ["proxy"]
    networks = {name: set(service["networks"]) for name, service in services.items()}
    assert networks == {"server": {"web", "store"}, "database": {"store"}, "proxy": {"web"}}
    assert compose["networks"]["store"]["internal"] is True
    for service in services.values():
        named = [volume.partition(":")[0] for volume in service["volumes"]]
        assert all(name in compose["volumes"] or name.startswith(("/", "./")) for name in named)
        assert all((DEPLOY / name).is_file() for name in named if name.startswith("./"))
    assert set(re.findall(r"\{\$(\w+)\}", text("deploy/Caddyfile"))) == set(services["proxy"]["environment"])


# The guide ----------------------------------------------------------------------------------------------------------


def guide_commands() -> list[list[str]]:
    """The `goldeye` commands that docs/deploying.md runs in the server's container."""
    blocks = re.findall(r"```sh\n(.*?)```", text("docs/deploying.md"), re.DOTALL)
    lines = [line for block in blocks for line in re.sub(r"\\\n", " ", block).splitlines()]
    found = []
    for row in (shlex.split(line, comments=True) for line in lines):
        start = next((row.index(word) for word in ("server", "goldeye-annotate") if word in row), len(row))
        if row[:1] == ["docker"] and {"exec", "run"} & set(row[:start]) and start < len(row):
            # `exec` needs the program's name; `run` goes through the image's entry point.
            assert (row[start + 1] == "goldeye") == ("exec" in row)
            found.append(row[start + 1 + ("exec" in row) :])
    return found


def test_the_guide_has_its_commands() -> None:
    assert [row[:2] for row in guide_commands()] == [
        ["annotate", "invite"],
        ["annotate", "invite"],
        ["annotate", "people"],
        ["labels", "stats"],
        ["labels", "export"],
        ["annotate", "/data/dataset"],
    ]


@pytest.mark.parametrize("words", guide_commands(), ids=lambda words: " ".join(words[:2]))
def test_every_command_of_the_guide_is_understood(words: list[str], compose: dict[str, Any]) -> None:
    found = parsed(words)
    server = parsed(compose["services"]["server"]["command"])
    assert found["dataset"] == server["dataset"]
    if "--host" in words:
        Address(found["host"], found["port"], found["base_url"])
    else:
        assert found["database"] == server["database"]


def test_an_option_that_is_not_there_would_be_found() -> None:
    with pytest.raises(typer.BadParameter.__mro__[1], match="--databse"):
        parsed(["annotate", "people", "/data/dataset", "--databse", "x"])
    with pytest.raises(InvalidInput):
        Address("0.0.0.0", 8600)


# The workflow -------------------------------------------------------------------------------------------------------


def workflow() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text(".github/workflows/ci.yml"))
    return found


def test_the_workflow_covers_the_systems_and_pythons_that_are_promised() -> None:
    matrix = workflow()["jobs"]["base"]["strategy"]["matrix"]
    assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "windows", "macos"}
    classifiers = tomllib.loads(text("pyproject.toml"))["project"]["classifiers"]
    promised = [version for row in classifiers if (version := row.rpartition(" :: ")[2]).startswith("3.")]
    assert matrix["python"] == promised


def test_the_workflow_runs_what_is_there() -> None:
    steps = [step for job in workflow()["jobs"].values() for step in job["steps"]]
    assert all(("run" in step) != ("uses" in step) for step in steps)
    runs = "\n".join(step["run"] for step in steps if "run" in step)
    targets = re.findall(r"^([\w-]+):", text("Makefile"), re.MULTILINE)
    made = re.findall(r"^make ([\w-]+)", runs, re.MULTILINE)
    assert {"lint", "test", "test-all"} <= set(made) <= set(targets)
    files = re.findall(r"(?:tests|deploy)/[\w./-]+", runs)
    assert "tests/test_smoke.py" in files
    assert all((REPOSITORY / name).is_file() for name in files)
