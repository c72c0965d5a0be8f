use std::f64::consts::TAU;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// Random numbers that are the same for the same seed, part and window, whatever was drawn before: so a
/// trace can begin anywhere.
#[derive(Clone, Debug)]
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn new(seed: u64, part: u64, window: u64) -> Self {
        let mut bytes = [0; 32];
        for (place, number) in [seed, part, window].into_iter().enumerate() {
            bytes[8 * place..8 * (place + 1)].copy_from_slice(&number.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(bytes))
    }

    /// Uniform, above 0 and below 1: 52 random bits in the middle of their cells.
    pub(crate) fn uniform(&mut self) -> f64 {
        const CELLS: f64 = (1_u64 << 52) as f64;
        ((self.0.next_u64() >> 12) as f64 + 0.5) / CELLS
    }

    /// Exponential of mean 1, by inversion.
    pub(crate) fn exponential(&mut self) -> f64 {
        -self.uniform().ln()
    }

    /// Two independent standard normal numbers (Box and Muller 1958).
    pub(crate) fn normals(&mut self) -> (f64, f64) {
        let radius = (2.0 * self.exponential()).sqrt();
        let (sine, cosine) = (TAU * self.uniform()).sin_cos();
        (radius * cosine, radius * sine)
    }

    /// `value` rounded up or down by chance, so that it is `value` on average.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "callers bound the value"
    )]
    pub(crate) fn round(&mut self, value: f64) -> u64 {
        let whole = value.floor();
        whole as u64 + u64::from(self.uniform() < value - whole)
    }
}

/// A distribution of positive numbers, of which only the shape matters: what is drawn has no particular mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Gaps {
    /// All the same.
    Even,
    /// Gamma.
    Gamma(Gamma),
    /// Weibull, by one over its shape.
    Weibull(f64),
}

/// A Gamma distribution of scale 1, prepared for drawing (Marsaglia and Tsang, "A simple method for
/// generating gamma variables", ACM TOMS 26(3), 2000).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Gamma {
    d: f64,
    c: f64,
    /// One over the shape, where that is below 1: then a Gamma of one more is drawn and multiplied by
    /// U^(1/shape).
    boost: Option<f64>,
}

/// A coefficient of variation below this is as good as even. With Gamma it is a shape of a million.
const EVEN: f64 = 1e-3;

impl Gaps {
    /// Gamma with the coefficient of variation `cv`: its shape is 1/cv².
    pub(crate) fn gamma(cv: f64) -> Self {
        if cv < EVEN {
            return Self::Even;
        }
        Self::Gamma(Gamma::new(1.0 / (cv * cv)))
    }

    /// Weibull with the coefficient of variation `cv`: its shape k solves cv² + 1 = Γ(1 + 2/k)/Γ(1 + 1/k)².
    pub(crate) fn weibull(cv: f64) -> Self {
        if cv < EVEN {
            return Self::Even;
        }
        let wanted = (cv * cv).ln_1p();
        let spread = |inverse: f64| ln_gamma(1.0 + 2.0 * inverse) - 2.0 * ln_gamma(1.0 + inverse);
        // It grows with 1/k: a thousandth gives a cv of 0.0013, 100 one beyond 10^28.
        let (mut least, mut most) = (1e-4, 100.0);
        for _ in 0..BISECTIONS {
            let middle = f64::midpoint(least, most);
            if spread(middle) < wanted {
                least = middle;
            } else {
                most = middle;
            }
        }
        Self::Weibull(f64::midpoint(least, most))
    }

    pub(crate) fn draw(&self, random: &mut Random) -> f64 {
        match self {
            Self::Even => 1.0,
            Self::Gamma(gamma) => gamma.draw(random),
            Self::Weibull(inverse) => random.exponential().powf(*inverse),
        }
    }
}

/// Halvings of an interval of 100: fewer would make a Weibull's CV wrong beyond nine digits.
const BISECTIONS: u32 = 50;

impl Gamma {
    fn new(shape: f64) -> Self {
        let boost = (shape < 1.0).then(|| 1.0 / shape);
        let d = (if boost.is_some() { shape + 1.0 } else { shape }) - 1.0 / 3.0;
        Self {
            d,
            c: 1.0 / (9.0 * d).sqrt(),
            boost,
        }
    }

    fn draw(&self, random: &mut Random) -> f64 {
        let value = loop {
            let (one, two) = random.normals();
            if let Some(value) = self.accept(one, random) {
                break value;
            }
            if let Some(value) = self.accept(two, random) {
                break value;
            }
        };
        match self.boost {
            Some(boost) => value * random.uniform().powf(boost),
            None => value,
        }
    }

    fn accept(&self, normal: f64, random: &mut Random) -> Option<f64> {
        let root = 1.0 + self.c * normal;
        if root <= 0.0 {
            return None;
        }
        let v = root * root * root;
        let square = normal * normal;
        let uniform = random.uniform();
        // The squeeze spares most logarithms.
        let taken = uniform < 1.0 - 0.0331 * square * square
            || uniform.ln() < 0.5 * square + self.d * (1.0 - v + v.ln());
        taken.then_some(self.d * v)
    }
}

/// The logarithm of the Gamma function for numbers above 0, by Stirling's series (DLMF 5.11.1) from 10 on,
/// to which smaller numbers are raised: exact to twelve digits.
fn ln_gamma(number: f64) -> f64 {
    let mut x = number;
    let mut product = 1.0;
    while x < 10.0 {
        product *= x;
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let series =
        (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square * (1.0 / 1680.0)))) / x;
    (x - 0.5) * x.ln() - x + 0.5 * TAU.ln() + series - product.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and CV of `count` draws.
    fn moments(count: u32, mut draw: impl FnMut() -> f64) -> (f64, f64) {
        let values: Vec<f64> = (0..count).map(|_| draw()).collect();
        let mean = values.iter().sum::<f64>() / f64::from(count);
        let variance = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / f64::from(count);
        (mean, variance.sqrt() / mean)
    }

    #[test]
    fn the_gamma_function_is_that_of_the_tables() {
        for (x, gamma) in [
            (0.5, std::f64::consts::PI.sqrt()),
            (1.0, 1.0),
            (2.0, 1.0),
            (5.0, 24.0),
            (7.5, 1_871.254_305_797_788),
            (21.0, 2_432_902_008_176_640_000.0),
        ] {
            assert!((ln_gamma(x) - f64::ln(gamma)).abs() < 1e-11, "{x}");
        }
    }

    #[test]
    fn gamma_has_its_moments_whatever_its_shape() {
        let mut random = Random::new(1, 2, 3);
        for shape in [0.05, 0.3, 0.9, 1.0, 1.7, 20.0, 1000.0] {
            let gamma = Gamma::new(shape);
            let (mean, cv) = moments(400_000, || gamma.draw(&mut random));
            let wanted = 1.0 / shape.sqrt();
            // Five standard errors of the mean; the CV's own error grows with the tail.
            assert!(
                (mean - shape).abs() < 5.0 * shape * wanted / 400_000_f64.sqrt(),
                "{shape}: {mean}"
            );
            assert!((cv / wanted - 1.0).abs() < 0.05, "{shape}: {cv} is not {wanted}");
        }
    }

    #[test]
    fn weibull_has_the_wanted_cv() {
        let mut random = Random::new(4, 5, 6);
        for wanted in [0.05, 0.5, 1.0, 2.0, 3.0] {
            let gaps = Gaps::weibull(wanted);
            let (_, cv) = moments(1_000_000, || gaps.draw(&mut random));
            assert!((cv / wanted - 1.0).abs() < 0.08, "{wanted}: {cv}");
        }
        // A Weibull of CV 1 is the exponential.
        let Gaps::Weibull(inverse) = Gaps::weibull(1.0) else {
            panic!("no Weibull");
        };
        assert!((inverse - 1.0).abs() < 1e-9, "{inverse}");
        // The tail of a CV of 800 shows in no sample: by its formula.
        let Gaps::Weibull(inverse) = Gaps::weibull(800.0) else {
            panic!("no Weibull");
        };
        let square = (ln_gamma(1.0 + 2.0 * inverse) - 2.0 * ln_gamma(1.0 + inverse)).exp() - 1.0;
        assert!((square.sqrt() - 800.0).abs() < 1e-3, "{square}");
    }

    #[test]
    fn normals_and_rounding_have_their_means() {
        let mut random = Random::new(7, 8, 9);
        let (mut sum, mut squares, mut product, mut rounded) = (0.0, 0.0, 0.0, 0);
        let count = 200_000;
        for _ in 0..count {
            let (one, two) = random.normals();
            sum += one + two;
            squares += one * one + two * two;
            product += one * two;
            rounded += random.round(2.25);
        }
        let count = f64::from(count);
        assert!((sum / count).abs() < 0.02 && (squares / count - 2.0).abs() < 0.03);
        assert!((product / count).abs() < 0.02);
        assert!((rounded as f64 / count - 2.25).abs() < 0.01);
    }
}
