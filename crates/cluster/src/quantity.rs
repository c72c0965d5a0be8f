/// The number that a Kubernetes quantity such as `8`, `100m` or `1Ki` stands for; `None` where it
/// is none. (apimachinery, `resource.Quantity`.)
pub(crate) fn parse(text: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 16] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
        ("", 1.0),
    ];
    let text = text.trim();
    let (number, factor) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))?;
    if !number.starts_with(|letter: char| letter.is_ascii_digit() || matches!(letter, '+' | '-' | '.')) {
        return None;
    }
    number
        .parse::<f64>()
        .ok()
        .map(|number| number * factor)
        .filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        let close = |text: &str, wanted: f64| {
            let found = parse(text).unwrap();
            assert!((found - wanted).abs() <= wanted.abs() * 1e-12, "{text}: {found}");
        };
        close("0", 0.0);
        close("8", 8.0);
        close("100m", 0.1);
        close("0.05", 0.05);
        close("1k", 1000.0);
        close("2Ki", 2048.0);
        close("1e3", 1000.0);
        close("1E", 1e18);
        for bad in ["", "m", "nan", "inf", "eight", "1x", "--1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
