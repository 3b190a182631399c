"""The service's figures for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Metrics:
    """Counters of one service; a registry of its own, so that several can be in one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.inspections = Counter(
            "mambaad_inspections",
            "Parts inspected and kept.",
            ["product", "verdict"],
            registry=self._registry,
        )
        self.refused = Counter(
            "mambaad_refused", "Parts that were not accepted.", ["code"], registry=self._registry
        )
        self.seconds = Histogram(
            "mambaad_part_seconds",
            "From a part's reception to its record on disk.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.worker_seconds = Histogram(
            "mambaad_worker_seconds",
            "Work of an inference process on a part.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "mambaad_parts_in_flight",
            "Parts being received, waiting or being inspected.",
            registry=self._registry,
        )
        self.outbox_waiting = Gauge(
            "mambaad_outbox_waiting",
            "Inspections that a receiver has not taken yet.",
            ["sink"],
            registry=self._registry,
        )
        self.processes = Gauge(
            "mambaad_inference_processes",
            "Inference processes at work.",
            registry=self._registry,
        )
        self.audit_rows = Gauge(
            "mambaad_audit_rows",
            "Rows of the audit trail, which never become fewer.",
            registry=self._registry,
        )
        self.restarts = Gauge(
            "mambaad_inference_restarts",
            "Inference processes that were replaced.",
            registry=self._registry,
        )

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)
