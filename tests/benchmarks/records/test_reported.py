import pytest

from benchmarks.records.reported import MARKS, OTHER_DATA, marked, read_reported, reported, reported_value
from dpq import InputError

HEAD = "dataset,method,bits,map,status,basis\n"


def test_the_shipped_values_are_read():
    assert len(reported()) > 50


def test_values_of_other_data_are_marked(tmp_path):
    (tmp_path / "r.csv").write_text(HEAD + "nuswide21,DPQ,8,0.5,seen,of NUS-WIDE-81\ncifar10,NA,16,1.0,seen,page 3\n")
    table = read_reported(tmp_path / "r.csv")
    assert list(table["status"]) == [OTHER_DATA, "seen"]
    assert list(table["method"]) == ["DPQ", "NA"]
    assert list(table["map"]) == [0.5, 1.0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it has no rows"),
        (HEAD, "it has no rows"),
        ("dataset,method\na,b\n", "row 2 has other fields"),
        (HEAD + "a,b,8,0.5,seen\n", "row 2 has other fields"),
        (HEAD + "a,b,8,0.5,seen,c,d\n", "row 2 has other fields"),
        (HEAD + "a,b,8,1.5,seen,c\n", "row 2 has bits '8', map '1.5'"),
        (HEAD + "a,b,8,nan,seen,c\n", "row 2 has bits '8', map 'nan'"),
        (HEAD + "a,b,-8,0.5,seen,c\n", "row 2 has bits '-8'"),
        (HEAD + "a,b,8,0.5,guessed,c\n", "status 'guessed'"),
        (HEAD + 'a,b,8,0.5,seen,"c\n', "unexpected end"),
    ],
)
def test_other_tables_are_refused(tmp_path, text, words):
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(InputError, match=f"cannot read the reported values in .*{words}"):
        read_reported(tmp_path / "r.csv")
    with pytest.raises(InputError, match="cannot read the reported values"):
        read_reported(tmp_path / "nowhere.csv")


def test_what_was_not_read_in_a_text_of_the_paper_itself_has_a_mark():
    """A reading note and an issue quote the paper; that is no reading of it."""
    table = reported()
    for row in table.itertuples():
        assert bool(MARKS[row.status]) != row.basis.startswith("Table "), row
    assert set(table[table.basis.str.contains("reading note|#")]["status"]) == {"quoted"}
    assert marked(reported_value("cifar10", "DVSQ", 32)) == "0.733‖"
