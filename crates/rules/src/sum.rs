//! Sums that do not depend on the order: exact, rounded once.
//!
//! Not here: which values are summed. The law: the sum of a set of numbers is one number, whatever the order and whatever
//! came before. A running sum that adds what comes and subtracts what leaves is another number, and another verdict.

/// The sum of `values`, exact and rounded once to the nearest `f64`; infinite where no `f64` can hold it.
pub(crate) fn exact(values: impl Iterator<Item = f64> + Clone) -> f64 {
    fixed(values.clone()).unwrap_or_else(|| partial(values))
}

/// Bits that the integers of [`fixed`] have beside the 53 of a number and the carries of 2^32 of them.
const SPREAD_BITS_MAX: i32 = 127 - 53 - 32;

/// A number as an integer and the power of two it counts.
fn parts(value: f64) -> (i64, i32) {
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32;
    let fraction = (bits & ((1 << 52) - 1)) as i64;
    let (magnitude, exponent) =
        if exponent == 0 { (fraction, -1074) } else { (fraction | (1 << 52), exponent - 1075) };
    (if value.is_sign_negative() { -magnitude } else { magnitude }, exponent)
}

/// The sum in 128-bit integers: when the numbers are of like size, which readings of one channel are.
fn fixed(values: impl Iterator<Item = f64> + Clone) -> Option<f64> {
    let (mut least, mut most) = (i32::MAX, i32::MIN);
    for value in values.clone().filter(|value| *value != 0.0) {
        let (_, exponent) = parts(value);
        (least, most) = (least.min(exponent), most.max(exponent));
    }
    if least > most {
        return Some(0.0);
    }
    if most - least > SPREAD_BITS_MAX {
        return None;
    }
    let sum: i128 = values
        .filter(|value| *value != 0.0)
        .map(|value| {
            let (integer, exponent) = parts(value);
            i128::from(integer) << (exponent - least)
        })
        .sum();
    // The conversion rounds to nearest even; powers of two in two halves, so that neither overflows before its time.
    let rounded = sum as f64;
    Some(rounded * power_of_two(least / 2) * power_of_two(least - least / 2))
}

/// 2^exponent, for exponents of normal numbers.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// The sum by partial sums that do not overlap (Shewchuk, "Adaptive Precision Floating-Point Arithmetic", 1997), for
/// numbers of very different size.
fn partial(values: impl Iterator<Item = f64>) -> f64 {
    let mut partials: Vec<f64> = Vec::new();
    for value in values {
        let mut x = value;
        let mut kept = 0;
        for at in 0..partials.len() {
            let mut y = partials[at];
            if x.abs() < y.abs() {
                std::mem::swap(&mut x, &mut y);
            }
            let high = x + y;
            let low = y - (high - x);
            if low != 0.0 {
                partials[kept] = low;
                kept += 1;
            }
            x = high;
        }
        partials.truncate(kept);
        partials.push(x);
    }
    rounded(&partials)
}

/// Rounds partial sums, the smallest first, half to even.
fn rounded(partials: &[f64]) -> f64 {
    let Some((&largest, mut rest)) = partials.split_last() else { return 0.0 };
    let mut high = largest;
    while let Some((&next, smaller)) = rest.split_last() {
        rest = smaller;
        let sum = high + next;
        let low = next - (sum - high);
        high = sum;
        if low != 0.0 {
            // Exactly between two numbers: what is further down decides.
            if rest.last().is_some_and(|further| (low < 0.0) == (*further < 0.0)) {
                let twice = low * 2.0;
                let other = high + twice;
                if twice == other - high {
                    high = other;
                }
            }
            break;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sum_is_exact() {
        let check = |values: &[f64], expect: f64| {
            assert_eq!(exact(values.iter().copied()), expect, "{values:?}");
            assert_eq!(partial(values.iter().copied()), expect, "{values:?}");
        };
        check(&[], 0.0);
        check(&[0.1; 10], 1.0);
        check(&[1e100, 1.0, -1e100], 1.0);
        check(&[1e16, 1.0, 1e-16], 10_000_000_000_000_002.0);
        check(&[f64::MIN_POSITIVE / 4.0, -f64::MIN_POSITIVE], f64::MIN_POSITIVE * -0.75);
        check(&[5e-324, 5e-324], 1e-323);
        check(&[f64::MAX / 2.0, f64::MAX / 2.0], f64::MAX);
    }

    proptest! {
        #[test]
        fn both_ways_agree_and_order_is_nothing(mut values in prop::collection::vec(-1e6..1e6f64, 0..40)) {
            let sum = exact(values.iter().copied());
            prop_assert_eq!(sum.to_bits() << 1, partial(values.iter().copied()).to_bits() << 1);
            values.reverse();
            prop_assert_eq!(sum, exact(values.iter().copied()));
            values.sort_by(f64::total_cmp);
            prop_assert_eq!(sum, exact(values.iter().copied()));
        }
    }
}
