//! What engines and other sources of demand report, and what becomes of it.

use crate::runner::Test;

mod fixtures;
mod from_zero;
mod latency;
mod restarts;
mod sources;
mod unread;

/// Every test of them.
pub(crate) fn all() -> [Test; 12] {
    [
        Test::new("engines::seen_by_prometheus", fixtures::seen_by_prometheus),
        Test::new(
            "engines::vllm_from_zero_and_back",
            from_zero::vllm_from_zero_and_back,
        ),
        Test::new("engines::one_hangs", unread::one_hangs),
        Test::new("engines::one_serves_html", unread::one_serves_html),
        Test::new(
            "engines::restart_resets_counters",
            restarts::restart_resets_counters,
        ),
        Test::new(
            "engines::agent_killed_scaler_takes_over",
            restarts::agent_killed_scaler_takes_over,
        ),
        Test::new("engines::asleep_is_no_capacity", restarts::asleep_is_no_capacity),
        Test::new(
            "engines::prometheus_down_freezes",
            sources::prometheus_down_freezes,
        ),
        Test::new("engines::expression", sources::expression),
        Test::new("engines::expression_refused", sources::expression_refused),
        Test::new("kueue::pending", sources::kueue_pending),
        Test::new("engines::arrival_to_answer", latency::arrival_to_answer),
    ]
}
