//! The node's eyes: reads the GPUs, asks the kubelet who holds them, streams snapshots.
