"""What `dvc repro` runs; that it gives the figures of the functions is in tests/data_quality/test_dvc_repro.py."""

import yaml

from stack.settings import PROJECT_ROOT, Settings

PIPELINE = PROJECT_ROOT / "dvc.yaml"


def test_its_parameters_are_the_defaults_of_the_settings() -> None:
    variables = {
        name: value for group in yaml.safe_load(PIPELINE.read_text())["vars"] for name, value in group.items()
    }
    fields = Settings.model_fields
    assert variables == {
        "home": ".reelgraph",
        **{name: fields[name].default for name in ("test_fraction", "seed")},
        "two_tower_epochs": fields["two_tower_epochs"].default or "",
    }
