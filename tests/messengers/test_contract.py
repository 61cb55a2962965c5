"""What holds for every messenger, over real sockets to its simulated provider."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import pytest

from tests.messengers.support import (
    ADA,
    ADA_MAIL,
    NAMES,
    QUICK,
    SHOP,
    Bench,
    bench,
    http_messenger,
)
from voxyray.errors import MessageRefused, MessengerError
from voxyray.messengers import Messenger
from voxyray.messengers.http import Limits
from voxyray.messengers.smtp import SmtpMessenger
from voxyray.twin.messages import Providers

every = pytest.mark.parametrize("name", NAMES)


async def failure(name: str, trouble: str, limits: Limits | None = None) -> MessengerError:
    async with bench(name, trouble, *([limits] if limits else [])) as one:
        with pytest.raises(MessengerError) as caught:
            await one.messenger.send(one.message())
    error = caught.value
    shown = f"{error} {error!r} {error.__cause__!r} {error.__context__!r}"
    assert ADA not in shown
    assert ADA_MAIL not in shown
    return error


@every
async def test_a_message_is_taken_and_has_an_id(name: str) -> None:
    async with bench(name) as one:
        first = await one.messenger.send(one.message("Grüße, 🎉\nsecond line\n.\n.dotted"))
        second = await one.messenger.send(one.message("Another"))
        to = one.message().to
        assert one.taken() == [(to, "Grüße, 🎉\nsecond line\n.\n.dotted"), (to, "Another")]
    assert first
    assert first != second
    assert one.messenger.name == name


@every
async def test_messages_at_the_same_time_do_not_mix(name: str) -> None:
    async with bench(name) as one:
        texts = [f"number {number}" for number in range(10)]
        ids = await asyncio.gather(*(one.messenger.send(one.message(text)) for text in texts))
        assert sorted(text for _, text in one.taken()) == texts
        assert len(set(ids)) == 10


@every
@pytest.mark.parametrize("trouble", ["busy", "down", "garbage"])
async def test_what_was_refused_for_now_may_be_tried_again(name: str, trouble: str) -> None:
    error = await failure(name, trouble)
    if (name, trouble) == ("ses", "garbage"):
        assert error.maybe_sent  # botocore does not tell an answer it cannot read from none at all
        return
    assert (error.retryable, error.maybe_sent, error.opted_out) == (True, False, False)
    assert error.code


@every
async def test_what_was_refused_for_good_is_not(name: str) -> None:
    error = await failure(name, "refused")
    assert (error.retryable, error.maybe_sent) == (False, False)


@every
@pytest.mark.parametrize("trouble", ["hang_after", "drop_after", "gateway"])
async def test_without_an_answer_nobody_knows(name: str, trouble: str) -> None:
    error = await failure(name, trouble, QUICK if trouble == "hang_after" else None)
    assert (error.retryable, error.maybe_sent) == (False, True)


@every
async def test_a_provider_that_hangs_is_given_up(name: str) -> None:
    error = await failure(name, "hang_before", QUICK)
    # Over HTTP the request was out; SMTP had not begun to hand the message over.
    assert (error.retryable, error.maybe_sent) == (
        (True, False) if name == "smtp" else (False, True)
    )


@every
async def test_nothing_was_sent_where_nobody_listens(name: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        messenger: Messenger
        if name == "smtp":
            messenger = SmtpMessenger("127.0.0.1", port, SHOP)
        else:
            providers = Providers()
            providers.url = f"http://127.0.0.1:{port}"
            messenger = http_messenger(name, providers)
        message = Bench(name, messenger, list).message()
        with pytest.raises(MessengerError) as caught:
            await messenger.send(message)
        await messenger.close()
    assert (caught.value.retryable, caught.value.maybe_sent) == (True, False)


INJECTIONS: list[dict[str, Any]] = [
    {"to": "ada@example.com\r\nBcc: eve@example.com"},
    {"to": "ada@example.com>\r\nDATA"},
    {"to": "ada@example.com, eve@example.com"},
    {"to": "Eve <eve@example.com>"},
    {"to": "+14155550100\r\nX: y"},
    {"to": "+14155550100&To=+14155550199"},
    {"to": ""},
    {"body": ""},
    {"body": " \n\t"},
]


@pytest.mark.parametrize("name", [*NAMES, "outbox"])
@pytest.mark.parametrize("changes", INJECTIONS, ids=str)
async def test_what_cannot_be_sent_never_reaches_a_provider(
    name: str, changes: dict[str, Any]
) -> None:
    async with bench(name) as one:
        with pytest.raises(MessageRefused):
            await one.messenger.send(one.message(**{"key": "k", **changes}))
        assert not one.taken()


HOSTILE = "Hello\r\nBcc: eve@example.com\r\n\r\n<script>\x00\u2028x \ud800"


@pytest.mark.parametrize("name", ["sendgrid", "smtp", "ses"])
async def test_headers_cannot_be_injected(name: str) -> None:
    async with bench(name) as one:
        await one.messenger.send(one.message(subject=HOSTILE, from_name=HOSTILE))
        (taken,) = one.taken()
        assert taken[0] == ADA_MAIL


@every
async def test_lone_surrogates_and_controls_do_not_break_a_text(name: str) -> None:
    async with bench(name) as one:
        await one.messenger.send(one.message("half \ud83d of \udc00\x00 it"))
        assert one.taken()[0][1] == "half \ufffd of \ufffd  it"


@every
async def test_nothing_personal_or_secret_is_shown(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with bench(name, "refused") as one:
        with pytest.raises(MessengerError) as caught:
            await one.messenger.send(one.message("secret words"))
    shown = f"{one.messenger!r} {caught.value} {one.message()!r}"
    ours = "".join(record.getMessage() for record in caplog.records if "voxyray" in record.name)
    providers = Providers()
    for hidden in (ADA, ADA_MAIL, "secret words", providers.auth_token, providers.api_key):
        assert hidden not in shown + ours


@every
async def test_closing_twice_is_fine(name: str) -> None:
    async with bench(name) as one:
        await one.messenger.close()
