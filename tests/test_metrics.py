"""What Prometheus and CloudWatch are told, in their own formats."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from voxyray.metrics import (
    CALLS,
    CALLS_ACTIVE,
    CATALOGUE,
    GAP,
    INTERRUPTIONS,
    PART,
    SILENCE,
    TOKENS,
    TOOL_CALLS,
    Metrics,
)

_SAMPLE = re.compile(r'^([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)+)\})? ([0-9.e+-]+)$')


@pytest.fixture
def metrics() -> Metrics:
    made = Metrics()
    made.add(CALLS, "default")
    made.add(INTERRUPTIONS, amount=2)
    made.add(TOOL_CALLS, 'a"b\\c\nd', "done")
    for seconds in (0.05, 0.3, 0.31, 99.0):
        made.observe(GAP, seconds)
    made.observe(PART, 0.3, "model")
    made.gauge(CALLS_ACTIVE, lambda: 7)
    return made


def samples(text: str) -> dict[str, float]:
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = _SAMPLE.match(line)
            assert match is not None, line
            found[line.rpartition(" ")[0]] = float(match[3])
    return found


# The catalogue


def test_names_are_as_prometheus_wants_them() -> None:
    names = [metric.name for metric in CATALOGUE]
    assert len(set(names)) == len(names)
    for metric in CATALOGUE:
        assert re.fullmatch(r"voxyray_[a-z_]+", metric.name)
        assert metric.help.endswith(".")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert (metric.kind == "histogram") == bool(metric.buckets)
        assert list(metric.buckets) == sorted(set(metric.buckets))


def test_no_label_can_be_an_id_or_a_word_of_somebody() -> None:
    labels = {label for metric in CATALOGUE for label in metric.labels}
    assert labels == {
        "agent",
        "why",
        "cause",
        "part",
        "retryable",
        "model",
        "kind",
        "tool",
        "status",
    }


# Prometheus


def test_the_text_format(metrics: Metrics) -> None:
    found = samples(metrics.exposition())
    assert found['voxyray_calls_total{agent="default"}'] == 1
    assert found["voxyray_interruptions_total"] == 2
    assert found["voxyray_calls_active"] == 7
    assert found[r'voxyray_tool_calls_total{tool="a\"b\\c\nd",status="done"}'] == 1
    assert found["voxyray_turn_gap_seconds_count"] == 4
    assert found["voxyray_turn_gap_seconds_sum"] == pytest.approx(99.66)
    assert found['voxyray_turn_gap_seconds_bucket{le="0.3"}'] == 2, "a bound is in its bucket"
    assert found['voxyray_turn_gap_seconds_bucket{le="10.0"}'] == 3
    assert found['voxyray_turn_gap_seconds_bucket{le="+Inf"}'] == 4
    assert found['voxyray_turn_part_seconds_bucket{part="model",le="0.3"}'] == 1
    assert found["voxyray_journal_entries_lost_total"] == 0, "alarms need a zero"


def test_every_metric_is_described_even_before_it_has_a_value() -> None:
    lines = Metrics().exposition().splitlines()
    for metric in CATALOGUE:
        assert f"# HELP {metric.name} {metric.help}" in lines
        assert f"# TYPE {metric.name} {metric.kind}" in lines


def test_prometheus_own_parser_reads_the_same(metrics: Metrics) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    families = {
        each.name: each for each in parser.text_string_to_metric_families(metrics.exposition())
    }
    assert {each.name.removesuffix("_total") for each in CATALOGUE} == set(families)
    read = {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in families.values()
        for s in family.samples
    }
    assert read["voxyray_tool_calls_total", (("status", "done"), ("tool", 'a"b\\c\nd'))] == 1
    assert read["voxyray_turn_gap_seconds_bucket", (("le", "+Inf"),)] == 4
    assert families["voxyray_turn_gap_seconds"].type == "histogram"


def test_labels_that_grow_without_end_are_put_together() -> None:
    metrics = Metrics()
    for number in range(1000):
        metrics.add(TOOL_CALLS, f"tool{number}", "done")
        metrics.observe(PART, 0.1, f"part{number}")
    text = metrics.exposition()
    assert text.count("voxyray_tool_calls_total{") == 201
    assert metrics.value(TOOL_CALLS, "other", "other") == 800
    assert metrics.value(PART, "other") == 800


# CloudWatch


def emf(metrics: Metrics) -> list[dict[str, Any]]:
    return [json.loads(line) for line in metrics.emf(lambda: 1700000000.5)]


def test_lines_of_the_embedded_metric_format() -> None:
    metrics = Metrics(keep=True)
    metrics.add(INTERRUPTIONS)
    metrics.add(INTERRUPTIONS)
    metrics.observe(GAP, 0.4)
    metrics.observe(GAP, 0.5)
    metrics.observe(SILENCE, 0.03)
    metrics.add(TOKENS, "openai:a", "input", amount=30)
    found = emf(metrics)
    assert len(found) == 3
    for line in found:
        assert line["_aws"]["Timestamp"] == 1700000000500
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "voxyray"
        for named in directive["Metrics"]:
            assert named["Name"] in line
            assert named["Unit"] in ("Count", "Seconds", "None")
        for dimensions in directive["Dimensions"]:
            assert all(isinstance(line[name], str) and line[name] for name in dimensions)
    counted, timed, tokens = found
    assert counted["voxyray_interruptions_total"] == 2
    assert timed["voxyray_turn_gap_seconds"] == [0.4, 0.5]
    assert timed["voxyray_silence_seconds"] == 0.03
    assert tokens["voxyray_tokens_total"] == 30
    assert tokens["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["model", "kind"], []]


def test_what_was_told_is_not_told_again() -> None:
    metrics = Metrics(keep=True)
    metrics.add(INTERRUPTIONS)
    assert len(metrics.emf()) == 1
    assert metrics.emf() == []
    assert metrics.value(INTERRUPTIONS) == 1


def test_a_line_has_at_most_a_hundred_values_of_a_metric() -> None:
    metrics = Metrics(keep=True)
    for number in range(250):
        metrics.observe(GAP, number / 100)
    values = [line["voxyray_turn_gap_seconds"] for line in emf(metrics)]
    assert [len(each) for each in values] == [100, 100, 50]
    assert sum(map(sum, values)) == pytest.approx(sum(n / 100 for n in range(250)))


def test_servers_keep_nothing() -> None:
    metrics = Metrics()
    metrics.observe(GAP, 0.1)
    assert metrics.emf() == []
    metrics.keep()
    metrics.observe(GAP, 0.1)
    assert len(metrics.emf()) == 1


def test_lambda_prints_them(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics(keep=True)
    metrics.add(INTERRUPTIONS)
    metrics.print_emf()
    assert json.loads(capsys.readouterr().out)["voxyray_interruptions_total"] == 1


# The page


def test_the_page_lists_every_metric() -> None:
    page = (Path(__file__).parent.parent / "docs" / "waterfall.md").read_text()
    assert re.findall(r"^\| `(voxyray_\w+)` \|", page, re.MULTILINE) == [m.name for m in CATALOGUE]
    assert all(f"| {metric.help}" in page for metric in CATALOGUE)
