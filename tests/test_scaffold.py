from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from evalharness import scaffold
from evalharness.errors import ConfigError
from evalharness.reading.yamlfile import parse
from evalharness.scaffold import init, packaged
from evalharness.spec import Suite, Trainer


def test_a_workspace_has_everything(tmp_path: Path) -> None:
    written = {path.relative_to(tmp_path / "new").as_posix() for path in init(tmp_path / "new")}
    assert {".gitignore", "results/README.md", "schemas/suite.schema.json", "schemas/trainer.schema.json"} <= written
    assert {f"{part}/{path.name}" for part in ("suites", "trainers") for path in packaged(part).glob("*.yaml")} <= written
    assert {path.relative_to(tmp_path / "new").as_posix() for path in (tmp_path / "new").rglob("*") if path.is_file()} == written


def test_its_files_are_in_order(tmp_path: Path) -> None:
    init(tmp_path)
    for part, model in (("suites", Suite), ("trainers", Trainer)):
        files = sorted((tmp_path / part).glob("*.yaml"))
        assert files
        for path in files:
            text = path.read_text()
            model.model_validate(parse(text, path.name))
            schema = text.partition("\n")[0].removeprefix("# yaml-language-server: $schema=")
            assert json.loads((path.parent / schema).read_text())["title"] == model.__name__
            assert parse(text, path.name) == yaml.safe_load(text), "means the same to every reader of YAML"


def test_the_schemas_take_the_shipped_files(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    init(tmp_path)
    for part, name in (("suites", "suite"), ("trainers", "trainer")):
        schema = json.loads((tmp_path / f"schemas/{name}.schema.json").read_text())
        for path in (tmp_path / part).glob("*.yaml"):
            jsonschema.validate(parse(path.read_text(), path.name), schema)


def test_nothing_is_overwritten_and_all_that_is_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites/wmt22.yaml").write_text("mine")
    (tmp_path / ".gitignore").symlink_to("nowhere")
    with pytest.raises(ConfigError) as caught:
        init(tmp_path)
    assert caught.value.exit_code == 2
    assert [Path(problem.file).name for problem in caught.value.problems] == [".gitignore", "wmt22.yaml"]
    assert (tmp_path / "suites/wmt22.yaml").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".gitignore", "suites"]


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "here").write_text("mine")
    with pytest.raises(ConfigError, match="cannot be written"):
        init(tmp_path / "here")
    assert (tmp_path / "here").read_text() == "mine"


def test_a_folder_in_the_way_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "trainers").write_text("a file where a folder has to be")
    with pytest.raises(ConfigError, match="cannot be written"):
        init(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "trainers"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="may write to"):
        init(tmp_path / "new")


def test_an_installed_package_brings_its_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site/evalharness"
    (package / "workspace/suites").mkdir(parents=True)
    monkeypatch.setattr(scaffold, "__file__", str(package / "scaffold.py"))
    assert packaged("suites") == package / "workspace/suites"
    with pytest.raises(ConfigError, match="no trainers"):
        packaged("trainers")
