"""Editing agents: refused beside the field, never over somebody else's edit, every version kept."""

from __future__ import annotations

from tests.dashboard.looking import Desk, Page
from voxyray import definitions


async def edit(desk: Desk, version: int = 0, **fields: str) -> Page:
    form = {"greeting": "Good day!", "instructions": "Be brief.", "version": str(version)}
    return await desk.send("agents/shop", "agents/shop", {**form, **fields})


async def test_the_next_call_uses_an_edit(desk: Desk) -> None:
    await desk.open()
    assert "as in its folder" in (await desk.get("agents")).text
    page = await edit(desk)
    assert "Saved as version 1" in page.text
    current = await definitions.current(desk.store, desk.service.agents[0])
    assert (current.greeting, current.instructions) == ("Good day!", "Be brief.")
    assert "version 1, edited" in (await desk.get("agents")).text


async def test_lines_stay_as_they_were_typed(desk: Desk) -> None:
    await desk.open()
    text = "\n\nOne.\n  Two & <three>.\n"
    await edit(desk, instructions=text.replace("\n", "\r\n"))
    current = await definitions.current(desk.store, desk.service.agents[0])
    assert current.instructions == text
    page = await desk.get("agents/shop")
    # The first line break of a textarea does not count.
    assert ">\n\n\nOne.\n  Two &amp; &lt;three&gt;.\n</textarea>" in page.html


async def test_what_cannot_work_is_told_beside_its_field(desk: Desk) -> None:
    await desk.open()
    page = await edit(desk, greeting="Hello {{ caler.name }}!")
    assert page.status == 422
    assert page.all("textarea", id="greeting")[0]["aria-invalid"] == "true"
    assert "aria-invalid" not in page.all("textarea", id="instructions")[0]
    assert "unknown variable 'caler'; did you mean 'caller'?" in page.text
    assert "Hello {{ caler.name }}!" in page.text  # what they typed is not lost
    page = await edit(desk, instructions="One.\n{% if %}")
    assert page.all("textarea", id="instructions")[0]["aria-invalid"] == "true"
    assert "line 2" in page.text.lower()
    assert (await edit(desk, instructions="  ")).status == 422
    assert await definitions.stored(desk.store, "shop") is None


async def test_of_two_edits_the_later_one_is_told(desk: Desk) -> None:
    await desk.open()
    await edit(desk)
    page = await edit(desk, instructions="Be long.")
    assert page.status == 409
    assert "Somebody else saved an edit" in page.text
    assert "Be long." in page.text
    stored = await definitions.stored(desk.store, "shop")
    assert stored is not None
    assert stored.instructions == "Be brief."


async def test_every_version_is_kept_and_can_come_back(desk: Desk) -> None:
    await desk.open()
    await edit(desk)
    await edit(desk, 1, instructions="Be long.")
    history = await definitions.history(desk.store, "shop", 10)
    assert [(each.version, each.stored.instructions) for each in history] == [
        (2, "Be long."),
        (1, "Be brief."),
    ]
    page = await desk.send("agents/shop", "agents/shop", {"restore": "1", "version": "2"})
    assert "Saved as version 3" in page.text
    current = await definitions.current(desk.store, desk.service.agents[0])
    assert current.instructions == "Be brief."
    page = await desk.send("agents/shop", "agents/shop", {"restore": "0", "version": "3"})
    assert "Saved as version 4" in page.text
    current = await definitions.current(desk.store, desk.service.agents[0])
    assert current.instructions == "Be kind."
    page = await desk.send("agents/shop", "agents/shop", {"restore": "77", "version": "4"})
    assert page.status == 404


async def test_a_damaged_definition_is_told_of_and_can_be_written_over(desk: Desk) -> None:
    await desk.open()
    bad = {"definition": "{", "instructions": "x", "version": 3}
    await desk.store.append([{"pk": "AGENT#shop", "sk": "DEFINITION", **bad}])
    assert "is not used" in (await desk.get("agents")).text
    page = await desk.get("agents/shop")
    assert "damaged" in page.text
