"""Where links of pages lead in the site, and that the picture is what its program draws."""

from tools import ROOT
from tools.blocks import PICTURE, picture
from tools.links import linked, place, relinked, target


def test_a_link_is_read_from_its_page():
    assert target("../results/README.md", "docs/index.md") == "results/README.md"
    assert target("cifar10/rows.md", "results/README.md") == "results/cifar10/rows.md"


def test_pages_of_docs_stand_at_the_top_and_the_readme_beside_them():
    assert place("docs/index.md") == "index.md"
    assert place("README.md") == "readme.md"
    assert place("results/README.md") == "results/README.md"


def test_links_lead_to_places_of_the_site():
    text = "[a](../README.md#x) [b](data.md) ![c](blocks.svg) [d](https://example.org/x) [e](#here)"
    moved = "[a](readme.md#x) [b](data.md) ![c](blocks.svg) [d](https://example.org/x) [e](#here)"
    assert relinked(text, "docs/index.md") == moved
    assert relinked("[a](../docs/data.md)", "results/README.md") == "[a](../data.md)"
    assert relinked("[a](docs/data.md)", "README.md") == "[a](data.md)"


def test_what_pages_link_to_is_followed_through_other_pages(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text("[a](../A.md) [lost](../lost.md) [out](../../out.md)")
    (tmp_path / "A.md").write_text("[b](b/b.svg) [back](docs/index.md) [self](A.md)")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/b.svg").write_text("")
    assert linked(["docs/index.md"], tmp_path) == ["A.md", "b/b.svg"]


def test_results_are_part_of_the_site():
    found = linked(["docs/index.md"], ROOT)
    assert {"README.md", "CHANGELOG.md", "results/README.md", "results/CLAIMS.md"} <= set(found)
    assert any(path.startswith("results/cifar10-cpu/runs/") for path in found)


def test_the_picture_is_what_is_drawn():
    assert PICTURE.read_text(encoding="utf-8") == picture()
