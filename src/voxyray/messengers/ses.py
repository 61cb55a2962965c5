"""E-mail through Amazon SES v2, by boto3 in threads of its own; needs the extra `aws`.

Its errors are in docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html.
"""

from __future__ import annotations

import asyncio
import importlib
from concurrent.futures import ThreadPoolExecutor
from email.utils import formataddr
from typing import Any, Final

from voxyray.errors import MessengerError, SettingsError
from voxyray.messengers import Message
from voxyray.messengers.checks import checked
from voxyray.messengers.http import Limits, scrubbed

_THREADS: Final = 4
_RETRYABLE: Final = frozenset(
    {
        "TooManyRequestsException",
        "LimitExceededException",
        "ThrottlingException",
        "Throttling",
        "InternalServiceErrorException",
        "InternalFailure",
        "ServiceUnavailable",
    }
)
_FIXES: Final = {
    "MailFromDomainNotVerifiedException": "verify the domain of VOXYRAY_EMAIL_FROM in SES",
    "SendingPausedException": "sending is paused in SES; resume it there",
    "AccountSuspendedException": "SES has suspended the account",
    "AccessDeniedException": "the credentials may not call ses:SendEmail",
}
# botocore's exceptions for what never left this machine.
_NEVER_SENT: Final = frozenset({"EndpointConnectionError", "ConnectTimeoutError", "SSLError"})
_SETTINGS: Final = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "NoRegionError", "ParamValidationError"}
)


class SesMessenger:
    """Send e-mail from a verified identity, with the credentials boto3 finds.

    endpoint_url, region: None for what boto3 finds in its configuration.

    Raises:
        SettingsError: boto3 is not installed, or knows no region.
    """

    name = "ses"

    def __init__(
        self,
        sender: str,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._sender = sender
        limits = limits or Limits()
        try:
            boto3 = importlib.import_module("boto3")
            config = importlib.import_module("botocore.config").Config(
                connect_timeout=limits.connect_s,
                read_timeout=limits.total_s,
                # Its own retries would send again what may have arrived.
                retries={"total_max_attempts": 1},
            )
        except ImportError:
            raise SettingsError(
                "VOXYRAY_EMAIL=ses needs boto3: install voxyray with its extra, "
                "pip install 'voxyray[aws]'"
            ) from None
        try:
            self._client: Any = boto3.client(
                "sesv2", region_name=region, endpoint_url=endpoint_url, config=config
            )
        except Exception as error:  # boto3 has no base for what a configuration can hold
            raise SettingsError(
                f"VOXYRAY_EMAIL=ses: {type(error).__name__}; set AWS_REGION and credentials"
            ) from error
        # Not the loop's own threads: those look up the addresses of the language model.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="voxyray-ses")

    def __repr__(self) -> str:
        return "<SesMessenger>"

    async def send(self, message: Message) -> str:
        """Have SES take an e-mail and give its message id.

        Raises:
            MessengerError: SES refused it, or could not be asked.
            MessageRefused: it can never be sent as it is.
        """
        mail = self._mail(checked(message))
        loop = asyncio.get_running_loop()
        try:
            answer = await loop.run_in_executor(
                self._threads, lambda: self._client.send_email(**mail)
            )
        except Exception as error:  # noqa: BLE001 - boto3 makes its exceptions' classes at run time
            problem = _explained(error)
        else:
            return str(answer["MessageId"])
        raise problem

    async def close(self) -> None:
        """Let go of the threads and connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _mail(self, message: Message) -> dict[str, Any]:
        return {
            # SES takes ASCII here; formataddr encodes other names as RFC 2047 says.
            "FromEmailAddress": formataddr((message.from_name, self._sender)),
            "Destination": {"ToAddresses": [message.to]},
            "Content": {
                "Simple": {
                    "Subject": {"Data": message.subject, "Charset": "UTF-8"},
                    "Body": {"Text": {"Data": message.body, "Charset": "UTF-8"}},
                }
            },
        }


def _explained(error: Exception) -> MessengerError:
    kind = type(error).__name__
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        code = str(response.get("Error", {}).get("Code", ""))
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        said = scrubbed(str(response.get("Error", {}).get("Message", "")))
        reason = ": ".join(part for part in (_FIXES.get(code, ""), said) if part)
        unknown = status == 504
        return MessengerError(
            f"ses: {code}" + (f": {reason}" if reason else ""),
            code=code,
            retryable=not unknown and (code in _RETRYABLE or status == 429 or status >= 500),
            maybe_sent=unknown,
        )
    if kind in _SETTINGS:
        return MessengerError(f"ses: {kind}: check AWS_REGION and the credentials", code=kind)
    if kind in _NEVER_SENT:
        return MessengerError(f"ses: no connection ({kind})", retryable=True)
    return MessengerError(f"ses: no answer ({kind}); it may have been sent", maybe_sent=True)
