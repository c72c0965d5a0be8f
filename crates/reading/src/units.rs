use crate::{Amount, Unit, amount::WrongUnit};

macro_rules! units {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
        pub struct $name(pub f64);

        impl $name {
            /// As an [`Amount`]; `None` where the number is NaN or infinite.
            #[must_use]
            pub fn amount(self) -> Option<Amount> {
                Amount::new(self.0, Unit::$name)
            }
        }

        impl TryFrom<Amount> for $name {
            type Error = WrongUnit;

            fn try_from(amount: Amount) -> Result<Self, WrongUnit> {
                if amount.unit() == Unit::$name {
                    Ok(Self(amount.value()))
                } else {
                    Err(WrongUnit { found: amount.unit(), wanted: Unit::$name })
                }
            }
        }
    )*};
}

units! {
    /// A part of a whole, 0 to 1; percent is only for people.
    Ratio
    /// Bytes.
    Bytes
    /// Bytes per second.
    BytesPerSecond
    /// Watts.
    Watts
    /// Joules.
    Joules
    /// Degrees Celsius.
    Celsius
    /// Cycles per second.
    Hertz
    /// Seconds.
    Seconds
    /// Things per second: requests, tokens.
    PerSecond
    /// A number of things.
    Count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_not_taken_for_another() {
        let power = Watts(300.0).amount().unwrap();
        assert_eq!(Watts::try_from(power), Ok(Watts(300.0)));
        let error = Ratio::try_from(power).unwrap_err();
        assert_eq!(error.to_string(), "the amount is in W, not in ratio");
    }
}
