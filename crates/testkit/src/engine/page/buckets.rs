//! Upper bounds of buckets as engines have them by default.

/// Time to first token of vLLM, and of those who took it over. There is no 2.0.
pub(super) const TTFT: [f64; 22] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];

/// Time per output token, and inter-token latency, of vLLM and of those who took it over.
pub(super) const TPOT: [f64; 19] = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
];

/// Times of whole requests of vLLM, and of those who took it over. They begin at 0.3 s.
pub(super) const REQUEST: [f64; 21] = [
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
    960.0, 1920.0, 7680.0,
];

/// Tokens in an iteration of vLLM.
pub(super) const ITERATION_TOKENS: [f64; 13] = [
    1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0,
];

/// Prefill time of trtllm-serve.
pub(super) const TRTLLM_PREFILL: [f64; 18] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0,
    2560.0,
];

/// Time to first token of SGLang.
pub(super) const SGLANG_TTFT: [f64; 18] = [
    0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 200.0, 400.0,
];

/// End-to-end latency of SGLang.
pub(super) const SGLANG_E2E: [f64; 22] = [
    0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 200.0, 400.0,
    600.0, 1200.0, 1800.0, 2400.0,
];

/// Inter-token latency of SGLang.
pub(super) const SGLANG_ITL: [f64; 23] = [
    0.002, 0.004, 0.006, 0.008, 0.010, 0.015, 0.020, 0.025, 0.030, 0.035, 0.040, 0.060, 0.080, 0.100, 0.200,
    0.400, 0.600, 0.800, 1.0, 2.0, 4.0, 6.0, 8.0,
];

/// Queue time of SGLang, which begins at 0.
pub(super) const SGLANG_QUEUE: [f64; 28] = [
    0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 15.0, 20.0, 30.0,
    40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0, 200.0, 300.0, 400.0,
];

/// Time to first response of Triton, in milliseconds.
pub(super) const TRITON_FIRST_RESPONSE_MS: [f64; 5] = [100.0, 500.0, 2000.0, 5000.0, 10_000.0];

/// 1, 2, 5, 10, 20, 50 ... up to `limit`: token counts of vLLM and of those who took it over.
pub(super) fn one_two_five(limit: u32) -> Vec<f64> {
    let limit = f64::from(limit);
    let mut bounds = Vec::new();
    let mut power = 1.0;
    loop {
        for mantissa in [1.0, 2.0, 5.0] {
            if mantissa * power > limit {
                return bounds;
            }
            bounds.push(mantissa * power);
        }
        power *= 10.0;
    }
}

/// `count` bounds, each `growth` times the one before.
pub(super) fn geometric(first: f64, growth: f64, count: usize) -> Vec<f64> {
    std::iter::successors(Some(first), |bound| Some(bound * growth))
        .take(count)
        .collect()
}

/// 1, 2, 4 ... : the first `count` powers of two.
pub(super) fn powers_of_two(count: usize) -> Vec<f64> {
    geometric(1.0, 2.0, count)
}

/// `count` equal steps up to `limit`.
pub(super) fn linear(limit: f64, count: u32) -> Vec<f64> {
    (1..=count)
        .map(|step| limit / f64::from(count) * f64::from(step))
        .collect()
}
