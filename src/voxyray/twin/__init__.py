"""The twin: a simulated Twilio that calls your app, with its timing and its quirks.

A caller is a script. Over real HTTP and real sockets:

    from voxyray.twin import Carrier, Phone

    async def caller(phone: Phone) -> None:
        await phone.listen()                             # the greeting, to its end
        await phone.say("I want to change my booking")
        await phone.cut_in("No, wait", after_words=4)    # interrupt after four words were heard
        print(await phone.listen())                      # what the agent answered to that

    carrier = Carrier("http://127.0.0.1:8080/voice", auth_token="...")
    record = await carrier.call(caller)
    assert record.ending.status == "completed" and not record.errors

In tests without sockets, `run_relay(line, caller)` plays one relay session over one end of a
`memory_pipe()`, and `run_virtual` (or `@virtual`) makes minutes of it take milliseconds.
"""

from voxyray.twin.attributes import Language, RelayAttributes
from voxyray.twin.carrier import Carrier, Script, run_relay
from voxyray.twin.clock import VirtualLoop, run_virtual, virtual
from voxyray.twin.errors import CallOver, Deadlock, TwinError, TwinRefused, TwinTimeout
from voxyray.twin.phone import Phone
from voxyray.twin.pipe import Binary, Closed, Line, dial, memory_pipe
from voxyray.twin.record import CallRecord, Ending, Event, FrameSeen, Post, Spoken
from voxyray.twin.relay import Identity
from voxyray.twin.settings import Oddities, Timing

__all__ = [
    "Binary",
    "CallOver",
    "CallRecord",
    "Carrier",
    "Closed",
    "Deadlock",
    "Ending",
    "Event",
    "FrameSeen",
    "Identity",
    "Language",
    "Line",
    "Oddities",
    "Phone",
    "Post",
    "RelayAttributes",
    "Script",
    "Spoken",
    "Timing",
    "TwinError",
    "TwinRefused",
    "TwinTimeout",
    "VirtualLoop",
    "dial",
    "memory_pipe",
    "run_relay",
    "run_virtual",
    "virtual",
]
