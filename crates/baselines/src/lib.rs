//! The autoscalers of others as baselines, each faithful to its source.
