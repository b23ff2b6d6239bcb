"""Numbers for Prometheus. Each server has a registry of its own; names follow vLLM's, under `sterna_`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sterna.engine.generation import Generation
from sterna.engine.statistics import Statistics

disable_created_metrics()  # a second series for each one, with the time when it began

MODEL = ["model"]
FIRST_TOKEN = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)
NEXT_TOKEN = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
WHOLE_REQUEST = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300)


@dataclass(frozen=True)
class Engine:
    """What a scrape learns of a loaded model: `bytes` is its memory with the KV cache."""

    model: str
    bytes: int
    statistics: Statistics


class Metrics:
    """All numbers of one server."""

    def __init__(self, engines: Callable[[], Sequence[Engine]]) -> None:
        """`engines` gives those of the loaded models at each scrape."""
        self._registry = CollectorRegistry()
        self._registry.register(_Engines(engines))

        def counter(name: str, help: str, labels: Sequence[str] = MODEL) -> Counter:
            return Counter(f"sterna_{name}", help, labels, registry=self._registry)

        def histogram(name: str, help: str, buckets: Sequence[float]) -> Histogram:
            return Histogram(f"sterna_{name}", help, MODEL, buckets=buckets, registry=self._registry)

        self.replies = counter(
            "http_requests", "Requests by their path and the status of the reply", ["path", "status"]
        )
        self.loads = counter("model_loads", "How often a model was loaded")
        self.finished = counter("request_success", "Texts by why they ended", ["model", "finished_reason"])
        self.cancelled = counter("request_cancelled", "Texts that ended early: the client left, or there was an error")
        self.prompt_tokens = counter("prompt_tokens", "Tokens of prompts")
        self.generated_tokens = counter("generation_tokens", "Tokens that were generated")
        self.draft_tokens = counter("spec_decode_num_draft_tokens", "Tokens that prompt lookup drafted")
        self.accepted_tokens = counter("spec_decode_num_accepted_tokens", "Drafted tokens that were right")
        self.forced_tokens = counter("forced_tokens", "Tokens that a grammar left no choice about")
        self.first_token = histogram("time_to_first_token_seconds", "From the question to its first token", FIRST_TOKEN)
        self.next_token = histogram("inter_token_latency_seconds", "From one token of a text to the next", NEXT_TOKEN)
        self.whole = histogram("e2e_request_latency_seconds", "From the question to its end", WHOLE_REQUEST)

    def meter(self, model: str) -> Meter:
        """Counts what requests do with one model."""
        return Meter(self, model)

    def text(self) -> bytes:
        """All numbers in Prometheus' text format 0.0.4."""
        return generate_latest(self._registry)


class Meter:
    """Counts what requests do with one model."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._metrics, self._model = metrics, model
        metrics.loads.labels(model).inc()
        self.first_token = metrics.first_token.labels(model).observe
        """Takes the seconds from a question to its first token."""
        self.next_token = metrics.next_token.labels(model).observe
        """Takes the seconds from one token to the next."""
        self.whole = metrics.whole.labels(model).observe
        """Takes the seconds from a question to the end of its answer."""

    def ended(self, generation: Generation, counts_prompt: bool) -> None:
        """Counts a text that has ended or was cancelled. Choices after the first share its prompt."""
        metrics, model = self._metrics, self._model
        if generation.cached_tokens is not None and counts_prompt:  # it was admitted
            metrics.prompt_tokens.labels(model).inc(generation.prompt_tokens)
        metrics.generated_tokens.labels(model).inc(len(generation.completion_ids))
        metrics.draft_tokens.labels(model).inc(generation.draft_tokens)
        metrics.accepted_tokens.labels(model).inc(generation.accepted_tokens)
        metrics.forced_tokens.labels(model).inc(generation.forced_tokens)
        if generation.stop_reason is None:
            metrics.cancelled.labels(model).inc()
        else:
            metrics.finished.labels(model, generation.stop_reason).inc()


class _Engines(Collector):
    """Reads the engines' own numbers at each scrape. Those of a model begin anew when it is loaded again."""

    def __init__(self, engines: Callable[[], Sequence[Engine]]) -> None:
        self._engines = engines

    def collect(self) -> Iterator[Metric]:
        engines = self._engines()

        def family(
            kind: type[GaugeMetricFamily] | type[CounterMetricFamily],
            name: str,
            help: str,
            value: Callable[[Engine], float],
        ) -> Metric:
            made = kind(f"sterna_{name}", help, labels=MODEL)
            for engine in engines:
                made.add_metric([engine.model], value(engine))
            return made

        gauge, counter = GaugeMetricFamily, CounterMetricFamily
        yield family(gauge, "num_requests_running", "Texts in the engine", lambda e: e.statistics.running)
        yield family(gauge, "num_requests_waiting", "Texts that wait for it", lambda e: e.statistics.waiting)
        yield family(gauge, "kv_cache_usage_perc", "Share of KV blocks in use", lambda e: e.statistics.cache_use)
        yield family(gauge, "model_bytes", "Memory of a model with its KV cache", lambda e: e.bytes)
        yield family(counter, "iterations", "Forward passes", lambda e: e.statistics.passes)
        yield family(counter, "iteration_tokens", "Tokens in forward passes", lambda e: e.statistics.tokens)
        yield family(counter, "num_preemptions", "Texts that gave up their blocks", lambda e: e.statistics.preemptions)
        yield family(
            counter, "prefix_cache_queries", "Tokens looked up in the cache", lambda e: e.statistics.prefix_queries
        )
        yield family(counter, "prefix_cache_hits", "Tokens found in the cache", lambda e: e.statistics.prefix_hits)


CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
