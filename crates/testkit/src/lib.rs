//! Fake kubelet, KEDA caller and other fixtures.
