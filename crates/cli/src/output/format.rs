//! Numbers for people.

pub(crate) use rigl_base::counts::grouped as count;

/// With a prefix of the SI: 13304.0 as `13.3 k`.
pub(crate) fn si(x: f64) -> String {
    const PREFIXES: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    let mut x = x;
    let mut prefix = 0;
    while x.abs() >= 999.95 && prefix + 1 < PREFIXES.len() {
        x /= 1000.0;
        prefix += 1;
    }
    let text = if x.abs() >= 100.0 || prefix == 0 && x.fract() == 0.0 {
        format!("{x:.0}")
    } else if x.abs() >= 10.0 {
        format!("{x:.1}")
    } else {
        format!("{x:.2}")
    };
    format!("{text} {}", PREFIXES[prefix])
}

/// Bytes in units of 1000, as sizes of files are told: `61.4 kB`.
pub(crate) fn bytes(n: u64) -> String {
    format!("{}B", si(n as f64))
}

/// A share of 1 in percent: `97.31 %`.
pub(crate) fn percent(x: f64) -> String {
    if x.is_finite() { format!("{:.2} %", 100.0 * x) } else { "–".to_string() }
}

/// How many times: `9.7×`.
pub(crate) fn ratio(x: f64) -> String {
    if !x.is_finite() {
        "–".to_string()
    } else if x >= 100.0 {
        format!("{x:.0}×")
    } else if x >= 10.0 {
        format!("{x:.1}×")
    } else {
        format!("{x:.2}×")
    }
}

/// Seconds: `8.4 s`, `3 min 20 s`, `2 h 05 min`.
pub(crate) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "–".to_string();
    }
    if seconds < 99.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match whole / 3600 {
        0 => format!("{} min {:02} s", whole / 60, whole % 60),
        hours => format!("{hours} h {:02} min", whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(
            [si(7.0), si(13_304.0), si(532_400.0), si(999_999.0), si(0.5)],
            ["7 ", "13.3 k", "532 k", "1.00 M", "0.50 "]
        );
        assert_eq!(bytes(61_398), "61.4 kB");
        assert_eq!([percent(0.97314), percent(f64::NAN)], ["97.31 %", "–"]);
        assert_eq!(
            [ratio(9.74), ratio(40.0), ratio(123.4), ratio(f64::INFINITY)],
            ["9.74×", "40.0×", "123×", "–"]
        );
        assert_eq!([8.44, 200.0, 7500.0].map(duration), ["8.4 s", "3 min 20 s", "2 h 05 min"]);
    }
}
