import { collectDefaultMetrics, Counter, Gauge, Registry } from "prom-client";

/** One metric with all its series, as they are now. */
export interface MetricFamily {
  /** By Prometheus' conventions: base units, and `_total` for what only grows. */
  readonly name: string;
  readonly help: string;
  readonly type: "gauge" | "counter";
  readonly labels: readonly string[];
  readonly samples: readonly MetricSample[];
}

export interface MetricSample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** What a scrape is answered. */
export interface MetricsPage {
  readonly contentType: string;
  readonly text: string;
}

/** Gauges that the library calls `_total`, which by convention only counters are. The same without it is there. */
const MISNAMED = ["nodejs_active_handles_total", "nodejs_active_requests_total", "nodejs_active_resources_total"];

/**
 * The page that Prometheus reads: the families it is given, and the figures of this process. It has a registry of its own, so that
 * two in one process do not meet. A series that is not given any more is gone from the next page.
 */
export class Metrics {
  readonly #registry = new Registry();
  readonly #known = new Map<string, Gauge | Counter>();

  constructor() {
    collectDefaultMetrics({ register: this.#registry });
    for (const name of MISNAMED) this.#registry.removeSingleMetric(name);
  }

  /** A family keeps its type and its labels. The names of families without a series are on the page, too. */
  async page(families: readonly MetricFamily[]): Promise<MetricsPage> {
    // Set in one go, so that two pages at once have both whole figures.
    for (const family of families) {
      const metric = this.#metric(family);
      metric.reset();
      // A reset makes a series without labels 0.
      if (family.labels.length === 0) metric.remove();
      for (const { labels, value } of family.samples)
        if (metric instanceof Gauge) metric.set(labels, value);
        else metric.inc(labels, value);
    }
    return { contentType: this.#registry.contentType, text: await this.#registry.metrics() };
  }

  #metric({ name, help, type, labels }: MetricFamily): Gauge | Counter {
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    const settings = { name, help, labelNames: [...labels], registers: [this.#registry] };
    const metric = type === "gauge" ? new Gauge(settings) : new Counter(settings);
    this.#known.set(name, metric);
    return metric;
  }
}
