use std::time::Duration;

use rheostat_reading::Watts;
use serde::{Deserialize, Serialize};

/// What one iteration of a continuous-batching engine costs: `base + prompt·P + sequence·S + context·K`
/// seconds for `P` prompt tokens, `S` decoding sequences and `K` tokens of their KV caches.
///
/// The same form as vLLM's step time in BLIS and Llumnix' and WVA's linear models: reading the weights,
/// computing prompts, handling sequences, reading the KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CostModel {
    /// Seconds of each iteration, whatever is in it.
    pub base: f64,
    /// Seconds for each prompt token.
    pub prompt: f64,
    /// Seconds for each sequence that gets a token.
    pub sequence: f64,
    /// Seconds for each token of context of each such sequence.
    pub context: f64,
}

/// How long requests are, on the mean.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lengths {
    /// Tokens of a prompt.
    pub prompt: f64,
    /// Tokens of an answer.
    pub output: f64,
}

/// What a GPU can do.
struct Gpu {
    /// Part of the product name, in lower case.
    name: &'static str,
    /// Dense 16-bit arithmetic, FLOP/s.
    arithmetic: f64,
    /// Memory bandwidth, bytes/s.
    bandwidth: f64,
    /// Power limit, watts.
    power: f64,
}

/// Data sheets of NVIDIA and AMD, dense BF16; SXM where there are several forms. More specific names stand first, since the first match
/// counts. A wrong number makes the first minutes' sizes wrong, until the workload itself was watched.
const GPUS: [Gpu; 14] = [
    Gpu {
        name: "gb200",
        arithmetic: 2_500e12,
        bandwidth: 8.0e12,
        power: 1200.0,
    },
    Gpu {
        name: "b200",
        arithmetic: 2_250e12,
        bandwidth: 8.0e12,
        power: 1000.0,
    },
    Gpu {
        name: "gh200",
        arithmetic: 989e12,
        bandwidth: 4.0e12,
        power: 700.0,
    },
    Gpu {
        name: "h200",
        arithmetic: 989e12,
        bandwidth: 4.8e12,
        power: 700.0,
    },
    Gpu {
        name: "h100 pcie",
        arithmetic: 756e12,
        bandwidth: 2.0e12,
        power: 350.0,
    },
    Gpu {
        name: "h100",
        arithmetic: 989e12,
        bandwidth: 3.35e12,
        power: 700.0,
    },
    Gpu {
        name: "mi300x",
        arithmetic: 1_307e12,
        bandwidth: 5.3e12,
        power: 750.0,
    },
    Gpu {
        name: "a100",
        arithmetic: 312e12,
        bandwidth: 2.04e12,
        power: 400.0,
    },
    Gpu {
        name: "l40s",
        arithmetic: 362e12,
        bandwidth: 0.864e12,
        power: 350.0,
    },
    Gpu {
        name: "a10",
        arithmetic: 125e12,
        bandwidth: 0.6e12,
        power: 150.0,
    },
    Gpu {
        name: "l4",
        arithmetic: 121e12,
        bandwidth: 0.3e12,
        power: 72.0,
    },
    Gpu {
        name: "v100",
        arithmetic: 125e12,
        bandwidth: 0.9e12,
        power: 300.0,
    },
    Gpu {
        name: "t4",
        arithmetic: 65e12,
        bandwidth: 0.32e12,
        power: 70.0,
    },
    Gpu {
        name: "4090",
        arithmetic: 165e12,
        bandwidth: 1.0e12,
        power: 450.0,
    },
];

/// Parts of arithmetic and bandwidth that serving reaches (BLIS' hardware table: 0.38 to 0.45 and 0.18 to
/// 0.30 of the data sheet with everything in it; bandwidth alone is used better while weights are read).
const ARITHMETIC_REACHED: f64 = 0.4;
const BANDWIDTH_REACHED: f64 = 0.5;

/// Parameters of the model for each GPU where nobody says more: 16-bit weights then fill the better part of
/// a usual GPU's memory next to the KV cache.
const PARAMETERS_PER_GPU: f64 = 16e9;

impl CostModel {
    /// What the data sheet lets expect of `gpus` GPUs of a product with a model of so many parameters.
    #[must_use]
    pub fn expected(product: &str, gpus: f64, parameters: Option<f64>) -> Self {
        let gpu = gpu_of(product);
        let gpus = gpus.max(0.1);
        let parameters = parameters.unwrap_or(PARAMETERS_PER_GPU * gpus);
        let bandwidth = gpu.bandwidth * gpus * BANDWIDTH_REACHED;
        let arithmetic = gpu.arithmetic * gpus * ARITHMETIC_REACHED;
        // 128 KiB of KV cache for a token of an 8B model, 320 KiB for 70B (both with grouped queries).
        let kv_bytes = 131_072.0 * (parameters / 8e9).powf(0.42);
        Self {
            base: 2.0 * parameters / bandwidth + 0.002,
            prompt: 2.0 * parameters / arithmetic,
            sequence: 2.0 * parameters / arithmetic + 0.000_05,
            context: kv_bytes / bandwidth,
        }
    }

    /// Seconds of a replica's time that a request takes beyond the iterations' base.
    ///
    /// At a utilisation ρ by such work, an iteration takes `base / (1 - ρ)`: all else is the base.
    #[must_use]
    pub fn work(&self, lengths: Lengths) -> f64 {
        let context = lengths.prompt + lengths.output / 2.0;
        self.prompt * lengths.prompt + (self.sequence + self.context * context) * lengths.output
    }

    /// Part of the time that may go into work so that an iteration takes at most `limit`.
    #[must_use]
    pub fn usable_for_iteration(&self, limit: Duration) -> f64 {
        1.0 - self.base / limit.as_secs_f64().max(1e-6)
    }

    /// Part of the time that may go into work so that at most `places` requests are in the batch
    /// (Little's law: a rate of ρ/work, for output iterations of base/(1 - ρ) each).
    #[must_use]
    pub fn usable_for_places(&self, places: f64, lengths: Lengths) -> f64 {
        let resident = lengths.output.max(1.0) * self.base;
        let ratio = places * self.work(lengths) / resident.max(1e-9);
        ratio / (1.0 + ratio)
    }
}

/// The product's data sheet; that of the A100 for one that nobody knows.
fn gpu_of(product: &str) -> &'static Gpu {
    let product = product.to_lowercase();
    GPUS.iter()
        .find(|gpu| product.contains(gpu.name))
        .unwrap_or(&GPUS[7])
}

/// The most that `gpus` GPUs of a product draw by its data sheet.
#[must_use]
pub(crate) fn most_power(product: &str, gpus: f64) -> Watts {
    Watts(gpu_of(product).power * gpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splitwise's table: Llama2-70B on 4 A100 takes 42.7 ms and 0.23 ms for each prompt token.
    #[test]
    fn the_data_sheet_lands_within_a_factor_of_two_of_what_was_measured() {
        let model = CostModel::expected("NVIDIA A100-SXM4-80GB", 4.0, Some(70e9));
        assert!((0.5..2.0).contains(&(model.base / 0.0427)), "{model:?}");
        assert!((0.5..2.0).contains(&(model.prompt / 0.000_23)), "{model:?}");
        let model = CostModel::expected("NVIDIA H100 80GB HBM3", 1.0, Some(8e9));
        assert!((0.5..2.0).contains(&(model.base / 0.006_96)), "{model:?}");
    }

    #[test]
    fn more_use_makes_iterations_longer_just_to_the_limit() {
        let model = CostModel {
            base: 0.04,
            prompt: 0.0002,
            sequence: 0.0004,
            context: 1e-7,
        };
        let usable = model.usable_for_iteration(Duration::from_millis(200));
        assert!((model.base / (1.0 - usable) - 0.2).abs() < 1e-12);
        let lengths = Lengths {
            prompt: 1000.0,
            output: 100.0,
        };
        let usable = model.usable_for_places(64.0, lengths);
        let rate = usable / model.work(lengths);
        let places = rate * lengths.output * model.base / (1.0 - usable);
        assert!((places - 64.0).abs() < 1e-9);
    }
}
