"""The example of the documentation is a declaration that works."""

from serving.experiments.declaration import parse_declaration
from stack.settings import PROJECT_ROOT


def test_the_example_of_the_documentation_can_be_used() -> None:
    text = (PROJECT_ROOT / "docs" / "experiments.md").read_text()
    example = text.split("```yaml\n")[1].split("```")[0]
    found = parse_declaration(example, "experiments.yaml").experiments
    assert [experiment.id for experiment in found] == ["diversity", "session"]
