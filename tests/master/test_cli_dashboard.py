"""The dashboard without a browser: who shares a question, who is let in, and that read-only is meant."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from client_samples import STATS
from peers import until

from master.cli.dashboard import picture as pictures
from master.cli.dashboard import words
from master.cli.dashboard.cluster_page import why_tasks_wait
from master.cli.dashboard.command import dashboard
from master.cli.dashboard.desk import Desk, ReadOnlyError
from master.cli.dashboard.guard import Guard
from master.cli.dashboard.picture import Picture, Topic
from master.cli.failure import CommandError
from rtscore.client import (
    AsyncMasterClient,
    CallTimeoutError,
    MasterUnreachableError,
    RequestError,
)


class Answers:
    """What a master would say, one after the other; counts how often it is asked."""

    def __init__(self, *answers: int | Exception) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def __call__(self) -> int:
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_pages_that_look_at_the_same_share_one_question() -> None:
    picture, ask, seen = Picture(), Answers(7), list[int | None]()
    looks = [picture.look("key", ask, lambda topic: seen.append(topic.value), 60.0) for _ in range(100)]
    await looks[0].settled()
    await asyncio.sleep(0)
    assert (ask.asked, seen) == (1, [7] * 100)
    late = picture.look("key", ask, lambda topic: seen.append(topic.value), 60.0)
    assert (ask.asked, len(seen)) == (1, 101)
    for look in (*looks, late):
        look.close()
    assert picture.watched == 0


async def test_what_nobody_looks_at_is_not_asked_for() -> None:
    picture, ask = Picture(), Answers(1)
    look = picture.look("key", ask, lambda topic: None, 0.01)
    await look.settled()
    look.close()
    look.close()
    asked = ask.asked
    await asyncio.sleep(0.05)
    assert ask.asked == asked


async def test_a_master_that_is_away_leaves_the_last_answer_and_is_heard_again() -> None:
    picture, ask = Picture(), Answers(1, MasterUnreachableError("gone"), MasterUnreachableError("gone"), 2)
    silent, values = list[bool](), list[int | None]()

    def use(topic: Topic[int]) -> None:
        silent.append(picture.silent_since is not None)
        values.append(topic.value)

    look = picture.look("key", ask, use, 0.01)
    await until(lambda: 2 in values)
    look.close()
    assert (values[:4], silent[:4]) == ([1, 1, 1, 2], [False, True, True, False])


async def test_a_slow_question_is_no_silence_while_others_are_answered() -> None:
    picture, quick = Picture(), Answers(1)
    silent, refusals = list[bool](), list[str]()
    tries = 0

    async def slow() -> int:
        nonlocal tries
        tries += 1
        if tries > 1:
            return 2
        before = quick.asked
        await until(lambda: quick.asked > before + 1)
        raise CallTimeoutError("no answer in time")

    def use(topic: Topic[int]) -> None:
        silent.append(picture.silent_since is not None)
        refusals.append(topic.refused)

    picture.look("quick", quick, use, 0.01)
    picture.look("slow", slow, use, 0.01)
    await until(lambda: tries > 1 and refusals[-1] == "")
    await picture.close()
    assert not any(silent)
    assert "The master answers, but not this in time; it is asked again." in refusals


async def test_questions_that_all_run_out_of_time_are_a_silence() -> None:
    picture, silent = Picture(), list[bool]()
    ask = Answers(1, CallTimeoutError("no answer in time"))
    picture.look("key", ask, lambda topic: silent.append(picture.silent_since is not None), 0.01)
    await until(lambda: len(silent) >= 2)
    await picture.close()
    assert silent[:2] == [False, True]


async def test_a_refusal_is_shown_and_is_no_silence() -> None:
    picture = Picture()
    topics = list[Topic[int]]()
    look = picture.look("key", Answers(RequestError("PERMISSION_DENIED", "not yours")), topics.append, 60.0)
    await look.settled()
    await asyncio.sleep(0)
    assert (topics[0].refused, topics[0].value, picture.silent_since) == ("not yours", None, None)
    await picture.close()


async def test_a_question_that_cannot_be_put_is_said_and_put_again() -> None:
    picture, refusals = Picture(), list[str]()
    look = picture.look(
        "key", Answers(ValueError("no such text"), 2), lambda topic: refusals.append(topic.refused), 0.01
    )
    await until(lambda: "" in refusals)
    assert "no such text" in refusals[0]
    look.close()


async def test_what_is_seldom_asked_is_asked_again_soon_after_a_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pictures, "_AGAIN_S", 0.01)
    picture, values = Picture(), list[int | None]()
    ask = Answers(MasterUnreachableError("gone"), 1, 2)
    picture.look("key", ask, lambda topic: values.append(topic.value), 3600.0)
    await until(lambda: 1 in values)
    await asyncio.sleep(0.05)
    assert ask.asked == 2
    await picture.close()


async def test_a_page_that_cannot_be_drawn_does_not_hold_up_the_others() -> None:
    picture, seen = Picture(), list[int | None]()

    def broken(topic: Topic[int]) -> None:
        raise ValueError("this page")

    picture.look("key", Answers(1), broken, 0.01)
    picture.look("key", Answers(1), lambda topic: seen.append(topic.value), 0.01)
    await until(lambda: len(seen) >= 2)
    await picture.close()


@pytest.mark.parametrize("change", ["cancel", "drain", "roll_back", "train"])
async def test_a_read_only_desk_changes_nothing_whoever_asks(change: str) -> None:
    # No master listens there: a call that was made would fail otherwise.
    async with AsyncMasterClient("127.0.0.1:9", retry_for_s=0.0) as client:
        desk = Desk(client, "127.0.0.1:9", read_only=True)
        arguments = {"cancel": ("t1",), "drain": ("w1", True), "roll_back": (1,), "train": ()}[change]
        with pytest.raises(ReadOnlyError, match="--read-only"):
            await getattr(desk, change)(*arguments)


async def admitted(kind: str, local: bool, **headers: str) -> bool:
    """Whether a guard lets a request with these headers through."""
    inside = False

    async def app(scope: object, receive: object, send: object) -> None:
        nonlocal inside
        inside = True

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: object) -> None:
        return

    scope = {"type": kind, "headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
    await Guard(app, local)(scope, receive, send)
    return inside


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_only_own_pages_get_in(kind: str) -> None:
    assert await admitted(kind, True, host="127.0.0.1:8600")
    assert await admitted(kind, True, host="localhost:9000", origin="http://localhost:9000")
    assert await admitted(kind, True, host="[::1]:8600", origin="http://[::1]:8600")
    assert not await admitted(kind, True, host="127.0.0.1:8600", origin="http://127.0.0.1:8601")
    assert not await admitted(kind, True, host="127.0.0.1:8600", origin="null")
    assert not await admitted(kind, True, host="foreign.example", origin="http://foreign.example")
    assert not await admitted(kind, True, host="127.0.0.1.foreign.example")
    assert not await admitted(kind, True)
    assert await admitted(kind, False, host="gateway.example", origin="https://gateway.example")
    assert not await admitted(kind, False, host="gateway.example", origin="https://foreign.example")


def test_the_reasons_of_the_queue_are_those_of_all_that_waits() -> None:
    reasons = (("waits for room", 70), ("needs gpu 8", 4))
    stats = msgspec.structs.replace(STATS, queued=1374, queue_reasons=reasons)
    said = [("70", "waits for room"), ("4", "needs gpu 8")]
    assert why_tasks_wait(stats) == [*said, ("1\u202f300", "others; the page of each says why")]
    assert why_tasks_wait(msgspec.structs.replace(stats, queued=74)) == said
    # The counters are of one moment and the reasons of another.
    assert why_tasks_wait(msgspec.structs.replace(stats, queued=70)) == said


def test_what_a_task_prints_becomes_lines_of_plain_text() -> None:
    assert words.printed("\x1b[1;31mred\x1b[0m\r\n10 %\r20 %\n") == "red\n10 %\n20 %\n"
    assert words.printed("\x1b]0;title\x07a\x08b\x00\t<b>") == "a\\x08b\\x00\t<b>"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (86400, "1 d")],
)
def test_a_span_is_said_in_its_largest_unit(seconds: float, said: str) -> None:
    assert words.span(seconds) == said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"listen": "0.0.0.0:8600"}, "can be reached from other machines"),
        ({"listen": "127.0.0.1"}, "host:port is allowed"),
        ({"listen": "127.0.0.1:0"}, "names no port"),
        ({"listen": "203.0.113.1:8600", "insecure": True}, "cannot be used"),
        ({"master": "nowhere"}, "HOST:PORT"),
    ],
)
def test_what_it_cannot_listen_on_or_ask_is_refused_with_a_sentence(
    arguments: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(CommandError, match=sentence):
        dashboard(**{"listen": "127.0.0.1:8600", "read_only": False, "insecure": False, **arguments})
