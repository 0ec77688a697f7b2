//! Numbers as MIL writes them: `-1`, `1e-5`, `0x1.8p-3`, `inf`.

/// The number that a word is; `None` if it is none.
pub fn parse(text: &str) -> Option<f64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    match digits.as_bytes() {
        [b'0', b'x' | b'X', rest @ ..] => Some(sign * hexadecimal(rest)?),
        [b'0'..=b'9' | b'.', ..] => Some(sign * digits.parse::<f64>().ok()?),
        b"inf" => Some(sign * f64::INFINITY),
        b"nan" => Some(f64::NAN),
        _ => None,
    }
}

/// `1.8p-3`: hexadecimal digits, a power of two in decimal.
fn hexadecimal(text: &[u8]) -> Option<f64> {
    let (digits, power) = match text.iter().position(|byte| matches!(byte, b'p' | b'P')) {
        Some(at) => (&text[..at], std::str::from_utf8(&text[at + 1..]).ok()?.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (mut mantissa, mut exponent, mut is_fraction, mut count) =
        (0_u64, i64::from(power), false, 0);
    for &byte in digits {
        if byte == b'.' {
            if is_fraction {
                return None;
            }
            is_fraction = true;
            continue;
        }
        let digit = u64::from(char::from(byte).to_digit(16)?);
        count += 1;
        if mantissa >> 58 == 0 {
            mantissa = mantissa << 4 | digit;
            exponent -= if is_fraction { 4 } else { 0 };
        } else {
            // What no longer fits decides the rounding only by not being zero.
            mantissa |= u64::from(digit != 0);
            exponent += if is_fraction { 0 } else { 4 };
        }
    }
    // Powers of two in steps that do not overflow before the product would.
    let mut value = mantissa as f64;
    for _ in 0..4 {
        let step = exponent.clamp(-1000, 1000);
        value *= 2.0_f64.powi(i32::try_from(step).ok()?);
        exponent -= step;
    }
    (count > 0).then_some(value)
}

/// The shortest text that reads as this number of half or single precision, in hexadecimal as Core ML writes it.
pub fn hexadecimal_of(value: f32) -> String {
    if value == 0.0 || !value.is_finite() {
        let sign = if value.is_sign_negative() { "-" } else { "" };
        return match value {
            _ if value.is_nan() => "nan".to_owned(),
            _ if value.is_infinite() => format!("{sign}inf"),
            _ => format!("{sign}0x0p+0"),
        };
    }
    let bits = f64::from(value).to_bits();
    let sign = if bits >> 63 == 1 { "-" } else { "" };
    // Every f32, also the smallest, is a normal f64.
    let exponent = (bits >> 52 & 0x7ff).cast_signed() - 1023;
    let digits = format!("{:013x}", bits & ((1 << 52) - 1));
    let digits = digits.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    format!("{sign}0x1{point}{digits}p{exponent:+}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_and_hexadecimal_numbers_are_read() {
        for (text, value) in [
            ("-1", -1.0),
            ("1e-5", 1e-5),
            (".5", 0.5),
            ("+3.", 3.0),
            ("0x1p-3", 0.125),
            ("0x1.8p+1", 3.0),
            ("-0x1.99999ap-4", f64::from(-0.1_f32)),
            ("0xff", 255.0),
            ("0x.8p0", 0.5),
            ("0x1p-1074", 5e-324),
            ("0x1.0000000000001p0", 1.000_000_000_000_000_2),
            ("-inf", f64::NEG_INFINITY),
            ("0x1p99999", f64::INFINITY),
        ] {
            assert_eq!(parse(text), Some(value), "{text}");
        }
        assert!(parse("nan").is_some_and(f64::is_nan));
        for text in
            ["", "-", "x", "1x", "0x", "0xg", "0x1p", "1.2.3", "0x1.2.3", "--1", "infinity", "1e"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for value in [1.0, -0.1, 65504.0, 1e-7, f32::MIN_POSITIVE / 8.0, 3.5, f32::MAX] {
            let text = hexadecimal_of(value);
            assert_eq!(parse(&text), Some(f64::from(value)), "{text}");
        }
        assert_eq!(hexadecimal_of(0.125), "0x1p-3");
        assert_eq!(hexadecimal_of(-3.0), "-0x1.8p+1");
        assert_eq!(hexadecimal_of(-0.0), "-0x0p+0");
    }
}
