"""E-mail through any mail server: the standard library's smtplib, in threads of its own.

One connection a message. Up to the end of its text nothing is sent, whatever fails; what happens
between that and the server's answer to it leaves open whether the message was taken (RFC 5321,
4.5.3.2.6).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import smtplib
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Final, Literal, TypeAlias

from voxyray.errors import MessengerError, SettingsError
from voxyray.messengers import Message
from voxyray.messengers.checks import checked
from voxyray.messengers.http import scrubbed

Security: TypeAlias = Literal["tls", "starttls", "none"]

TLS_PORT: Final = 465
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_THREADS: Final = 4


class SmtpMessenger:
    """Send e-mail through a mail server.

    security: `tls` from the first byte, `starttls` (refused where the server has none), or
    `none`; by default `tls` on port 465, `none` on this machine, `starttls` elsewhere.
    context: for TLS; by default the system's authorities are trusted. now: the time in headers.

    Raises:
        SettingsError: a user name or password that SMTP cannot carry.
    """

    name = "smtp"

    def __init__(
        self,
        host: str,
        port: int,
        sender: str,
        *,
        username: str = "",
        password: str = "",
        security: Security | None = None,
        context: ssl.SSLContext | None = None,
        timeout_s: float = 20.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        # smtplib would quote it in the error that it raises itself.
        if not (username + password).isascii():
            raise SettingsError("SMTP_USERNAME and SMTP_PASSWORD must be ASCII")
        self._host, self._port = host, port
        self._sender = sender
        self._username, self._password = username, password
        self._security = security or default_security(host, port)
        self._context = context
        self._timeout_s = timeout_s
        self._now = now
        # Not the loop's own threads: those look up the addresses of the language model.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="voxyray-smtp")

    def __repr__(self) -> str:
        return f"<SmtpMessenger {self._host}:{self._port}>"

    async def send(self, message: Message) -> str:
        """Have the server take an e-mail and give its Message-ID.

        Raises:
            MessengerError: the server refused it, or could not be asked.
            MessageRefused: it can never be sent as it is.
        """
        message = checked(message)
        mail = compose(message, self._sender, self._now())
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, self._send, message.to, mail)
        return str(mail["Message-ID"])

    async def close(self) -> None:
        """Let go of the threads; what they are doing they finish."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _send(self, to: str, mail: EmailMessage) -> None:
        server: smtplib.SMTP | None = None
        handing_over = False
        try:
            server = self._connect()
            _require(server.mail(self._sender), "sender")
            _require(server.rcpt(to), "recipient")
            handing_over = True
            _require(server.data(mail.as_bytes(policy=SMTP)), "message")
        except (OSError, smtplib.SMTPException, _Refused) as error:
            problem = self._explained(error, maybe_sent=handing_over)
        else:
            return
        finally:
            # Taken or not was decided above; how the goodbye goes changes nothing.
            if server is not None:
                with contextlib.suppress(OSError, smtplib.SMTPException):
                    server.quit()
                server.close()
        raise problem

    def _connect(self) -> smtplib.SMTP:
        # The domain as our name: the default asks DNS for this machine's, which can take long.
        name = self._sender.rpartition("@")[2]
        context = self._context or ssl.create_default_context()
        if self._security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                self._host, self._port, name, timeout=self._timeout_s, context=context
            )
        else:
            server = smtplib.SMTP(self._host, self._port, name, timeout=self._timeout_s)
        try:
            if self._security == "starttls":
                server.starttls(context=context)
            if self._username:
                server.login(self._username, self._password)
            server.ehlo_or_helo_if_needed()
        except BaseException:
            server.close()
            raise
        return server

    def _explained(self, error: Exception, *, maybe_sent: bool) -> MessengerError:
        if isinstance(error, _Refused):
            return error.explained()
        if isinstance(error, smtplib.SMTPAuthenticationError):
            what = "log-in (check SMTP_USERNAME and SMTP_PASSWORD)"
            return _Refused(error.smtp_code, error.smtp_error, what).explained(self._password)
        if isinstance(error, smtplib.SMTPResponseException):
            what = "message" if maybe_sent else "connection"
            return _Refused(error.smtp_code, error.smtp_error, what).explained()
        if isinstance(error, smtplib.SMTPNotSupportedError):
            return MessengerError(
                f"smtp: {self._host} lacks STARTTLS or a way to log in that we know: check the "
                "port in VOXYRAY_EMAIL"
            )
        if isinstance(error, ssl.SSLError) and not maybe_sent:
            return MessengerError(
                f"smtp: TLS with {self._host} failed ({error.reason}): check the host and port in "
                "VOXYRAY_EMAIL"
            )
        return _broken(error, maybe_sent=maybe_sent)


class _Refused(Exception):
    """A reply of the server that is not the one we need."""

    def __init__(self, code: int, reply: bytes | str, what: str) -> None:
        super().__init__(code)
        self.code = code
        self.reply = reply
        self.what = what

    def explained(self, *secrets: str) -> MessengerError:
        """Say what the server said; 4xx is for now, 5xx for ever (RFC 5321, 4.2.1)."""
        reply = self.reply
        said = reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)
        return MessengerError(
            f"smtp: {self.what} refused, {self.code}: {scrubbed(said, *secrets)}",
            code=str(self.code),
            retryable=400 <= self.code < 500,
        )


def _require(reply: tuple[int, bytes], what: str) -> None:
    code, said = reply
    # smtplib's -1 is a reply it cannot read.
    if code == -1:
        raise smtplib.SMTPServerDisconnected("unreadable reply")
    if not 200 <= code < 300:
        raise _Refused(code, said, what)


def _broken(error: Exception, *, maybe_sent: bool) -> MessengerError:
    # Only the kind and the system's words: smtplib's messages quote replies.
    words = error.strerror if isinstance(error, OSError) and error.strerror else ""
    reason = f"{type(error).__name__}: {words}" if words else type(error).__name__
    if maybe_sent:
        return MessengerError(
            f"smtp: no answer to the message ({reason}); it may have been sent", maybe_sent=True
        )
    return MessengerError(f"smtp: the connection failed ({reason})", retryable=True)


def default_security(host: str, port: int) -> Security:
    """Give the protection a server's port asks for."""
    if port == TLS_PORT:
        return "tls"
    return "none" if host in _LOOPBACK else "starttls"


def compose(message: Message, sender: str, at: datetime) -> EmailMessage:
    """Build an e-mail; the library refuses or encodes whatever could break out of a header.

    The Message-ID comes from the key, so that a mail server that sees one twice can tell.
    """
    mail = EmailMessage()
    mail["From"] = Address(display_name=message.from_name, addr_spec=sender)
    mail["To"] = Address(addr_spec=message.to)
    mail["Subject"] = message.subject
    mail["Date"] = at
    digest = hashlib.sha256(message.key.encode("utf-8", "replace")).hexdigest()[:32]
    mail["Message-ID"] = f"<{digest}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday replies to this
    # Seven bits, because a server need not offer more.
    mail.set_content(message.body, charset="utf-8", cte="quoted-printable")
    return mail
