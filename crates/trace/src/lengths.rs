use std::sync::LazyLock;

use crate::random::Random;

/// How long prompts and answers are, where a format does not say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lengths {
    /// Tokens of prompts.
    pub prompt: Tokens,
    /// Tokens of answers, drawn independently of the prompt: in the Azure traces the logarithms of the two
    /// have a correlation of 0.09 (chat) and 0.00 (code).
    pub output: Tokens,
}

/// A distribution of token counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tokens {
    /// Always so many.
    Fixed(u32),
    /// Lognormal, rounded, at least 1 and at most `most`.
    Lognormal {
        /// Half of the requests have fewer.
        median: f64,
        /// Standard deviation of the natural logarithm.
        sigma: f64,
        /// No request has more.
        most: u32,
    },
}

impl Default for Lengths {
    /// As in the Azure chat trace of 2023 (`AzureLLMInferenceTrace_conv`, Patel et al., "Splitwise", ISCA
    /// 2024): its medians, 1,020 and 129 tokens, and a σ with which the means are its 1,155 and 211. Were
    /// they wrong, a trace without lengths would stand for another load than it is said to.
    fn default() -> Self {
        static CHAT: LazyLock<Lengths> = LazyLock::new(|| {
            let lognormal = |median: f64, mean: f64, most| Tokens::Lognormal {
                median,
                // The mean of a lognormal distribution is median·exp(σ²/2).
                sigma: (2.0 * (mean / median).ln()).sqrt(),
                most,
            };
            Lengths {
                prompt: lognormal(1020.0, 1154.7, 16_384),
                output: lognormal(129.0, 211.13, 4096),
            }
        });
        *CHAT
    }
}

impl Lengths {
    /// Tokens of one request's prompt and answer.
    pub(crate) fn draw(&self, random: &mut Random) -> (u32, u32) {
        let (one, two) = random.normals();
        (self.prompt.at(one), self.output.at(two))
    }
}

impl Tokens {
    /// The value that lies `deviations` standard deviations from the middle.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 1 and a u32"
    )]
    fn at(self, deviations: f64) -> u32 {
        match self {
            Self::Fixed(tokens) => tokens.max(1),
            Self::Lognormal { median, sigma, most } => {
                let tokens = median * (sigma * deviations).exp();
                tokens.round().clamp(1.0, f64::from(most.max(1))) as u32
            }
        }
    }
}
