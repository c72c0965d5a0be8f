//! The brain: watches workloads, subscribes to agents, answers KEDA.
