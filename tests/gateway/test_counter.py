"""The arithmetic of a shared count, alone and step by step beside Redis's script and PostgreSQL's function."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import redis
from django.conf import settings as django_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.counter import Answer, Claim, Question, answer
from gateway.counter_stores import _LEASE, SCRIPT, Asked, arguments_of
from gateway.limits import QUOTA, RPM, SLOTS
from gateway.plane import connection_parameters
from tests.gateway.conftest import Client, make_client

LIMIT = 100


def ask(taken: int = 0, *others: tuple[int, int], used: int = 0, **fields: Any) -> Answer:
    head = min(1, fields.get("queued", 0))
    given: dict[str, Any] = {"seq": 1, "taken": taken, "spare": 0, "limit": LIMIT, "head": head, **fields}
    return answer(Question(**given), [Claim(*other) for other in others], used)


def test_what_waits_is_given_and_what_is_wanted_in_hand_only_where_there_is_room_for_all() -> None:
    assert ask(0, queued=3, want=64) == Answer(50, 50, 0)  # half of what is left, to the only one there
    assert ask(0, (50, 40), queued=1, want=64) == Answer(12, 38, 40)  # a quarter
    assert ask(12, (50, 40), queued=40, want=64) == Answer(38, 0, 40)  # all there is, for those that wait


def test_near_the_limit_each_gets_what_it_needs_and_nothing_in_hand() -> None:
    assert ask(0, (90, 0), queued=1, want=1000) == Answer(2, 8, 0)
    assert ask(0, (98, 0), queued=1, want=1000) == Answer(1, 1, 0)


def test_where_there_is_too_little_nothing_is_given_and_unused_units_of_others_are_told() -> None:
    assert ask(0, (100, 7), queued=1) == Answer(0, 0, 7)
    assert ask(0, (90, 7), (5, 1), head=8, queued=8) == Answer(0, 5, 8)


def test_what_nobody_claims_counts_as_well() -> None:
    assert ask(10, (10, 0), used=79, queued=5) == Answer(1, 0, 0)
    assert ask(10, (10, 0), used=200, queued=1) == Answer(0, 0, 0)


def test_a_mere_declaration_gets_nothing() -> None:
    assert ask(10, (10, 3)) == Answer(0, 80, 3)


questions = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.integers(0, 3),  # how many of the units in hand were used since
        st.integers(0, 5),  # how many wait
        st.integers(1, 3),  # of which the first needs so many
        st.sampled_from([0, 8, 64, 1000]),
        st.booleans(),  # whether it gives back what it has
        st.sampled_from([0, 0, 0, 1]),  # whether it was overtaken
    ),
    max_size=30,
)
Store = Callable[[str, Question], Answer]


def same_answers(steps: list[Any], store: Store) -> None:
    """Play the steps on the arithmetic and on a store; what is granted is never more than the limit."""
    claims: dict[str, Claim] = {}
    latest: dict[str, int] = {}
    for number, (name, used, waiting, head, want, gives_back, is_late) in enumerate(steps, 1):
        mine = claims.get(name, Claim(0, 0))
        spare = max(0, mine.spare - used)
        back = spare if gives_back else 0
        seq = latest[name] if is_late and name in latest else number
        question = Question(
            seq, mine.taken - back, spare - back, LIMIT, head=head if waiting else 0, queued=waiting * head, want=want
        )
        found = store(name, question)
        if seq != number:
            assert found.granted == 0
            continue
        others = [claim for other, claim in claims.items() if other != name]
        assert found == answer(question, others)
        claims[name] = Claim(question.taken + found.granted, question.spare + found.granted)
        latest[name] = seq
        assert sum(claim.taken for claim in claims.values()) <= LIMIT


@settings(max_examples=60, deadline=None)
@given(steps=questions, kind=st.sampled_from([RPM, SLOTS]))
def test_redis_does_the_same_arithmetic(steps: list[Any], kind: Any) -> None:
    client, key = redis.Redis.from_url(django_settings.REDIS_URL), str(uuid4())  # with more patience than ours
    script = client.register_script(SCRIPT)

    def store(name: str, question: Question) -> Answer:
        asked = Asked(key, kind, "now", question)
        return Answer(*script(keys=[f"nexus:limit:{key}"], args=arguments_of(asked, name)))

    with client:
        same_answers(steps, store)
        client.delete(f"nexus:limit:{key}")


@pytest.fixture(scope="module")
def database(committed: None) -> Any:
    with psycopg.connect(**connection_parameters(), autocommit=True) as connection:
        yield connection, make_client()


def lease(connection: Any, key: UUID, month: str, name: str, q: Question, seconds: float = 300.0) -> Answer:
    numbers = (q.seq, q.taken, q.spare, q.limit, q.head, q.queued, q.want, seconds)
    return Answer(*connection.execute(_LEASE, (key, month, name, *numbers)).fetchone())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=questions)
def test_postgresql_does_the_same_arithmetic(database: tuple[Any, Client], steps: list[Any]) -> None:
    connection, client = database
    connection.execute("DELETE FROM key_monthly_use WHERE key_id = %s", (client.key_id,))
    same_answers(steps, lambda name, question: lease(connection, client.key_id, "2026-11-01", name, question))


def test_a_lease_that_ran_out_counts_as_far_as_it_was_used(database: tuple[Any, Client]) -> None:
    connection, client = database
    month = "2026-10-01"
    assert lease(connection, client.key_id, month, "gone", Question(1, 0, 0, LIMIT, 1, 1, 40), -1.0).granted == 40
    connection.execute(
        "UPDATE key_monthly_use SET requests = 15 WHERE key_id = %s AND month = %s", (client.key_id, month)
    )
    assert lease(connection, client.key_id, month, "here", Question(1, 0, 0, LIMIT, 1, 90, 0)).granted == 85


def test_a_key_that_is_gone_gets_nothing(database: tuple[Any, Client]) -> None:
    connection, _ = database
    assert lease(connection, uuid4(), "2026-11-01", "here", Question(1, 0, 0, LIMIT, 1, 1, 0)).granted == 0


def test_kinds_name_their_windows() -> None:
    assert RPM.window_of(119.5) == ("1", 120.0)
    assert QUOTA.window_of(1_767_225_599.0) == ("2025-12", 1_767_225_600.0)
    assert QUOTA.window_of(1_767_225_600.0)[0] == "2026-01"
    assert SLOTS.window_of(5.0)[1] == float("inf")
