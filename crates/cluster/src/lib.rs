//! Workloads, scale targets and pods, as the Kubernetes API tells them.
