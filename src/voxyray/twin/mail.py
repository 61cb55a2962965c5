"""A simulated mail server: enough of RFC 5321 for one client at a time to send, and to go wrong.

async with MailServer.serve(MailTrouble(rcpt=550)) as server:
    messenger = SmtpMessenger("127.0.0.1", server.port, "shop@example.com")
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import email
import email.policy
import ssl
from collections.abc import AsyncGenerator
from email.message import EmailMessage
from typing import Literal, TypeAlias

import msgspec

Stage: TypeAlias = Literal["", "greeting", "mail", "rcpt", "data", "content"]


class MailTrouble(msgspec.Struct, frozen=True, kw_only=True):
    """What the server answers at each stage, and where it stops answering.

    greeting, mail, rcpt, data, content: reply codes; said: the words of those that refuse. hang,
    drop: the stage after whose command no answer comes; drop cuts the connection. A message whose
    content has come is taken before either.
    """

    greeting: int = 220
    mail: int = 250
    rcpt: int = 250
    data: int = 354
    content: int = 250
    said: str = "simulated trouble"
    hang: Stage = ""
    drop: Stage = ""


class Mail(msgspec.Struct, frozen=True):
    """A mail that the server took: envelope and message, with the bytes as they came."""

    sender: str
    recipients: tuple[str, ...]
    raw: bytes

    @property
    def message(self) -> EmailMessage:
        """The message, parsed."""
        return email.message_from_bytes(self.raw, policy=email.policy.default)


class MailServer:
    """Take mail and remember it.

    script: one trouble for each connection in turn, the last for all after it. context: offers
    STARTTLS with it, or speaks TLS from the first byte if implicit. login: user and password that
    are asked for. taken: every mail; commands: every line, passwords too.
    """

    def __init__(
        self,
        *script: MailTrouble,
        context: ssl.SSLContext | None = None,
        login: tuple[str, str] | None = None,
    ) -> None:
        self.script = script
        self.context = context
        self.login = login
        self.port = 0
        self.connections = 0
        self.taken: list[Mail] = []
        self.commands: list[str] = []
        self._clients: set[asyncio.Task[None]] = set()

    @classmethod
    @contextlib.asynccontextmanager
    async def serve(
        cls,
        *script: MailTrouble,
        context: ssl.SSLContext | None = None,
        implicit: bool = False,
        login: tuple[str, str] | None = None,
    ) -> AsyncGenerator[MailServer, None]:
        """Serve on a free port of this machine until the block is left."""
        mail = cls(*script, context=None if implicit else context, login=login)
        server = await asyncio.start_server(
            mail._connected, "127.0.0.1", 0, ssl=context if implicit else None
        )
        mail.port = server.sockets[0].getsockname()[1]
        try:
            yield mail
        finally:
            server.close()
            for client in mail._clients:
                client.cancel()
            await asyncio.gather(*mail._clients, return_exceptions=True)
            await server.wait_closed()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        trouble = (
            self.script[min(self.connections, len(self.script) - 1)]
            if self.script
            else MailTrouble()
        )
        self.connections += 1
        task = asyncio.create_task(_Client(self, trouble, reader, writer).talk())
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)


class _Over(Exception):
    """The conversation is over."""


class _Client:
    """One connection."""

    def __init__(
        self,
        server: MailServer,
        trouble: MailTrouble,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._server = server
        self._trouble = trouble
        self._reader = reader
        self._writer = writer
        self._encrypted = False
        self._trusted = server.login is None
        self._sender = ""
        self._recipients: list[str] = []

    async def talk(self) -> None:
        try:
            await self._stage("greeting", self._trouble.greeting, "ESMTP simulated")
            while line := await self._reader.readline():
                text = line.decode("latin-1").rstrip("\r\n")
                self._server.commands.append(text)
                await self._command(text)
        except (_Over, OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    async def _command(self, text: str) -> None:
        verb, _, rest = text.partition(" ")
        verb = verb.upper()
        if verb in ("EHLO", "HELO"):
            await self._hello()
        elif verb == "STARTTLS" and self._server.context is not None:
            await self._reply(220, "go ahead")
            await self._writer.start_tls(self._server.context)
            self._encrypted = True
        elif verb == "AUTH":
            await self._auth(rest)
        elif verb == "MAIL" and not self._trusted:
            await self._reply(530, "5.7.0 Authentication required")
        elif verb == "MAIL":
            self._sender, self._recipients = _path(rest), []
            await self._stage("mail", self._trouble.mail, "ok")
        elif verb == "RCPT":
            if self._trouble.rcpt < 300:
                self._recipients.append(_path(rest))
            await self._stage("rcpt", self._trouble.rcpt, "ok")
        elif verb == "DATA":
            await self._data()
        elif verb == "QUIT":
            await self._reply(221, "bye")
            raise _Over
        else:
            known = verb in ("RSET", "NOOP")
            await self._reply(250 if known else 502, "ok" if known else "unknown command")

    async def _hello(self) -> None:
        offers = ["simulated", "SIZE 10485760"]
        if self._server.context is not None and not self._encrypted:
            offers.append("STARTTLS")
        if self._server.login is not None:
            offers.append("AUTH PLAIN LOGIN")
        lines = [f"250-{offer}" for offer in offers[:-1]] + [f"250 {offers[-1]}"]
        self._writer.write("".join(f"{line}\r\n" for line in lines).encode())
        await self._writer.drain()

    async def _auth(self, rest: str) -> None:
        way, _, given = rest.partition(" ")
        if way.upper() == "PLAIN":
            given = given or await self._challenge("")
            parts = base64.b64decode(given).decode().split("\0")
            pair = (parts[1], parts[2])
        else:
            user = given or await self._challenge("Username:")
            password = await self._challenge("Password:")
            pair = (base64.b64decode(user).decode(), base64.b64decode(password).decode())
        self._trusted = pair == self._server.login
        if self._trusted:
            await self._reply(235, "2.7.0 accepted")
        else:
            # As careless servers do.
            await self._reply(535, f"5.7.8 {pair[0]}: bad credentials {pair[1]}")

    async def _challenge(self, text: str) -> str:
        await self._reply(334, base64.b64encode(text.encode()).decode())
        return (await self._reader.readline()).decode("ascii").strip()

    async def _data(self) -> None:
        await self._stage("data", self._trouble.data, "end with a dot")
        if self._trouble.data != 354:
            return
        raw = await self._reader.readuntil(b"\r\n.\r\n")
        raw = raw.removesuffix(b".\r\n")
        lines = raw.split(b"\r\n")
        raw = b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)
        if self._trouble.content < 300:
            self._server.taken.append(Mail(self._sender, tuple(self._recipients), raw))
        await self._stage("content", self._trouble.content, "queued")

    async def _stage(self, stage: Stage, code: int, words: str) -> None:
        if self._trouble.hang == stage:
            await asyncio.get_running_loop().create_future()
        if self._trouble.drop == stage:
            self._writer.transport.abort()
            raise _Over
        await self._reply(code, words if code < 400 else self._trouble.said)

    async def _reply(self, code: int, words: str) -> None:
        self._writer.write(f"{code} {words}\r\n".encode())
        await self._writer.drain()


def _path(rest: str) -> str:
    return rest.partition("<")[2].partition(">")[0]
