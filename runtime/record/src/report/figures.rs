//! Numbers as people read them.

use std::time::Duration;

/// `1234567` as `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Four digits at most, `k` and `M` for thousands and millions: the number beside an axis.
pub(super) fn short(number: f64) -> String {
    let size = number.abs();
    if !number.is_finite() {
        return plain(number);
    }
    let (scaled, unit) = match size {
        1e9.. => return format!("{number:e}"),
        1e6.. => (number / 1e6, "M"),
        1e4.. => (number / 1e3, "k"),
        _ => (number, ""),
    };
    if size > 0.0 && size < 1e-3 {
        return significant_exponent(number);
    }
    format!("{}{unit}", significant(scaled))
}

/// Four digits: a value that is looked up.
pub(super) fn plain(number: f64) -> String {
    match number.abs() {
        size if size.is_nan() => "not a number".to_owned(),
        f64::INFINITY => "infinite".to_owned(),
        1e3..1e15 => {
            let sign = if number < 0.0 { "-" } else { "" };
            format!("{sign}{}", count(number.abs().round() as u64))
        }
        size if size >= 1e15 || (size > 0.0 && size < 1e-3) => significant_exponent(number),
        _ => significant(number),
    }
}

/// A share of 1 in percent.
pub(super) fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.1} %", 100.0 * share) } else { plain(share) }
}

/// `3.2 s`, `4 min 12 s`, `2 h 05 min`.
pub(super) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Four digits, without zeros at the end of a fraction.
fn significant(number: f64) -> String {
    // Digits before the point; below 0 for zeros right behind it.
    let before = if number == 0.0 { 1 } else { number.abs().log10().floor() as i32 + 1 };
    let text = format!("{number:.*}", usize::try_from(4 - before).unwrap_or(0));
    without_zeros(&text).to_owned()
}

fn significant_exponent(number: f64) -> String {
    let text = format!("{number:.3e}");
    match text.split_once('e') {
        Some((digits, exponent)) => format!("{}e{exponent}", without_zeros(digits)),
        None => text,
    }
}

fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_right() {
        let counts = [0, 999, 1000, 1_234_567].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "1,234,567"]);
        let shorts = [0.0, 0.25, 2.0, 1500.0, 15_000.0, 2.5e6, 3e12, 2e-5, -0.5].map(short);
        assert_eq!(shorts, ["0", "0.25", "2", "1500", "15k", "2.5M", "3e12", "2e-5", "-0.5"]);
        let plains = [4.678_12, 0.1 + 0.2, 0.012_5, 1234.5, -98_765.0, 1e-9, f64::NAN].map(plain);
        assert_eq!(plains, ["4.678", "0.3", "0.0125", "1,235", "-98,765", "1e-9", "not a number"]);
        assert_eq!(plain(f64::NEG_INFINITY), "infinite");
        assert_eq!((percent(0.8345), percent(f64::NAN)), ("83.5 %".into(), "not a number".into()));
        let times = [3.21, 252.0, 7500.0].map(|seconds| time(Duration::from_secs_f64(seconds)));
        assert_eq!(times, ["3.2 s", "4 min 12 s", "2 h 05 min"]);
    }
}
