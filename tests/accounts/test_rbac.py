"""The table of roles and scopes, and keys as text."""

from hashlib import sha256

import pytest

from accounts import keys
from accounts.rbac import ROLE_SCOPES, SCOPES, effective_scopes


def test_an_admin_may_do_everything_that_there_is() -> None:
    assert ROLE_SCOPES["admin"] == set(SCOPES)
    assert len(SCOPES) == len(set(SCOPES)) == 21


def test_a_viewer_writes_nothing_and_sees_no_keys() -> None:
    assert all(scope.endswith(":read") for scope in ROLE_SCOPES["viewer"])
    assert "keys:read" not in ROLE_SCOPES["viewer"]


@pytest.mark.parametrize("area", ["providers", "keys", "policies", "billing", "members"])
def test_a_developer_does_not_administer(area: str) -> None:
    assert f"{area}:write" not in ROLE_SCOPES["developer"]


def test_each_role_holds_what_the_one_below_holds() -> None:
    assert ROLE_SCOPES["viewer"] < ROLE_SCOPES["developer"] < ROLE_SCOPES["admin"]


@pytest.mark.parametrize("role", [None, "", "owner", "ADMIN"])
def test_a_key_whose_maker_has_no_role_may_nothing(role: str | None) -> None:
    assert effective_scopes(SCOPES, role) == frozenset()


def test_a_key_may_what_both_it_and_its_maker_may() -> None:
    assert effective_scopes(["keys:read", "keys:write", "root:all"], "developer") == {"keys:read"}


def test_a_key_is_a_prefix_and_43_characters_and_never_the_same() -> None:
    made = {keys.generate() for _ in range(1000)}
    assert len(made) == 1000
    assert all(keys.looks_like_key(key) and len(key) == 47 for key in made)


@pytest.mark.parametrize("value", ["", "nxk_", "nxk_" + "a" * 42, "nxk_" + "a" * 44, "sk-" + "a" * 44])
def test_what_has_another_form_is_no_key(value: str) -> None:
    assert not keys.looks_like_key(value)


def test_a_key_is_stored_as_the_digest_of_all_of_it() -> None:
    key = keys.generate()
    assert keys.hash_key(key) == keys.hash_key(key.encode()) == sha256(key.encode()).hexdigest()
    assert keys.display_prefix(key) == key[:8]
