//! Engines whose constants come from measurements.
//!
//! All figures are those of `policies.md` §E, where each is quoted with its source:
//! - `base` and the slope of the decode time over the batch: the fits to `perf_model.csv` and
//!   `Llama-3.1-8B-tp-2.csv` of SageServe and Splitwise (medians of measured iterations, 512 tokens of
//!   context), and WVA's `ITL = alpha + beta * batch` for Llama 3.1 8B on H100 and L40S;
//! - `per_kv_token`: bytes of the KV cache for a token (320 kB of 70B, 128 kB of 8B) over the memory
//!   bandwidth of the replica's GPUs (BLIS' hardware table: 3.35, 2.04 and 0.864 TB/s);
//! - `per_decode_sequence`: the slope less 512 tokens of `per_kv_token`;
//! - `per_prefill_token`: for Splitwise's models such that prompts of 512 to 4,096 tokens come nearest to the
//!   measured times (least relative squares, `base` kept); for the others two operations for each parameter
//!   at the rate that BLIS learned (989.5 TFLOP/s at 45 % on H100, 362 at 32 % on L40S);
//! - `kv_tokens`: 90 % of the GPUs' memory (vLLM's `gpu_memory_utilization`) less two bytes for each
//!   parameter, over the bytes for a token;
//! - the two RTX: the decode-only seconds of the vLLM runs that LLMServingSim published (`bench/examples`, time
//!   series of tokens and running sequences), their fastest seconds of prefill, and the KV cache that vLLM
//!   found; how it bears the load of those runs is then a prediction, which `tests/measured.rs` holds;
//! - `max_sequences` and `max_batched_tokens`: vLLM's defaults for its server (256; 8,192 from 70 GiB of
//!   memory on, except A100, else 2,048).

use std::borrow::Cow;

use rheostat_reading::Seconds;

use crate::engine::EngineModel;

/// One row: name, GPU, GPUs, base and slope in ms, prefill in ms a token, bytes of a KV token, bandwidth of
/// all GPUs in TB/s, tokens of KV, tokens of an iteration.
struct Row(&'static str, &'static str, u32, f64, f64, f64, f64, f64, u32, u32);

/// Bytes of one token in the KV cache of Llama 2 70B: 2 x 80 layers x 8 heads x 128 x 2 bytes.
const KV_70B: f64 = 327_680.0;
/// Bytes of one token in the KV cache of Llama 3.1 8B: 2 x 32 layers x 8 heads x 128 x 2 bytes.
const KV_8B: f64 = 131_072.0;
/// Tokens of context at which the slopes were measured. Too small a number would count the KV cache twice.
const CONTEXT: f64 = 512.0;

const A100: &str = "NVIDIA-A100-SXM4-80GB";
const H100: &str = "NVIDIA-H100-80GB-HBM3";
const L40S: &str = "NVIDIA-L40S";
const RTX_4090: &str = "NVIDIA-GeForce-RTX-4090";
const RTX_PRO_6000: &str = "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition";

const ROWS: [Row; 9] = [
    Row(
        "llama2-70b-a100-tp4",
        A100,
        4,
        42.7,
        0.435,
        0.186,
        KV_70B,
        8.16,
        451_000,
        2048,
    ),
    Row(
        "llama2-70b-a100-tp8",
        A100,
        8,
        43.5,
        0.412,
        0.117,
        KV_70B,
        16.32,
        1_330_000,
        2048,
    ),
    Row(
        "llama2-70b-h100-tp4",
        H100,
        4,
        28.3,
        0.352,
        0.082,
        KV_70B,
        13.4,
        451_000,
        8192,
    ),
    Row(
        "llama2-70b-h100-tp8",
        H100,
        8,
        29.9,
        0.307,
        0.057,
        KV_70B,
        26.8,
        1_330_000,
        8192,
    ),
    Row(
        "llama-3.1-8b-h100",
        H100,
        1,
        6.958,
        0.042,
        0.036,
        KV_8B,
        3.35,
        427_000,
        8192,
    ),
    Row(
        "llama-3.1-8b-a100-tp2",
        A100,
        2,
        8.3,
        0.24,
        0.049,
        KV_8B,
        4.08,
        976_000,
        2048,
    ),
    Row(
        "llama-3.1-8b-l40s",
        L40S,
        1,
        22.6,
        0.181,
        0.138,
        KV_8B,
        0.864,
        207_000,
        2048,
    ),
    Row(
        "llama-3.1-8b-rtx-4090",
        RTX_4090,
        1,
        15.0,
        0.1866,
        0.085,
        KV_8B,
        1.008,
        41_408,
        2048,
    ),
    Row(
        "llama-3.1-8b-rtx-pro-6000",
        RTX_PRO_6000,
        1,
        11.4,
        0.0644,
        0.05,
        KV_8B,
        1.792,
        574_608,
        2048,
    ),
];

impl EngineModel {
    /// The engine of this name; `None` where there is none.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::catalogue().find(|engine| engine.name == name)
    }

    /// All engines.
    pub fn catalogue() -> impl Iterator<Item = Self> {
        ROWS.iter().map(Row::engine)
    }
}

impl Row {
    fn engine(&self) -> EngineModel {
        let &Self(name, hardware, gpus, base, slope, prefill, kv_bytes, bandwidth, kv_tokens, batched) = self;
        let per_kv_token = kv_bytes / (bandwidth * 1e12);
        EngineModel {
            name: Cow::Borrowed(name),
            hardware: Cow::Borrowed(hardware),
            gpus,
            base: Seconds(base / 1e3),
            per_prefill_token: Seconds(prefill / 1e3),
            per_decode_sequence: Seconds(slope / 1e3 - CONTEXT * per_kv_token),
            per_kv_token: Seconds(per_kv_token),
            max_sequences: 256,
            max_batched_tokens: batched,
            kv_tokens,
            block_tokens: 16,
        }
    }
}
