//! The Prometheus and OpenMetrics text formats.
