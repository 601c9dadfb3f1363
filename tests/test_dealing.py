"""How the suite is dealt out to several processes."""

from tests.dealing import stretches


def test_a_files_tests_stay_together_as_far_as_they_follow_one_another() -> None:
    dealt = stretches(["a.py::rolled_back", "a.py::too", "b.py::rolled_back", "a.py::commits", "a.py::commits[1::2]"])
    assert list(dealt.values()) == ["a.py 1", "a.py 1", "b.py 2", "a.py 3", "a.py 3"]
