//! A sum of numbers that is exact until it is read, and then rounded once: no order of adding can change it.
//!
//! ```text
//! limbs   one fixed-point number of 2,304 bits in digits of 32: the lowest bit of the first is worth 2^-1074, the
//!         least f64 there is. A limb has 31 bits more than its digit, so that carries wait until the sum is read.
//! ```
//!
//! Not here: what is summed. The laws: [`ExactSum::total`] is the f64 nearest to the exact sum (ties to even), whatever
//! was added in whatever order; beyond the greatest f64 it is infinite only if the exact sum is.

/// Digits of 32 bits: 2,098 for any f64, 64 for a factor, 31 for the number of addends, rounded up.
const LIMBS: usize = 72;

/// What the lowest bit is worth, as a power of two.
const LOWEST: i32 = -1_074;

/// Addends after which carries are moved on: each adds less than 2^33 to a limb of 63 bits.
const CARRY_AFTER: u32 = 1 << 28;

/// A sum in the making.
#[derive(Debug, Clone)]
pub(crate) struct ExactSum {
    limbs: [i64; LIMBS],
    /// The limbs that may not be zero.
    from: usize,
    to: usize,
    waiting: u32,
}

impl Default for ExactSum {
    fn default() -> Self {
        Self { limbs: [0; LIMBS], from: LIMBS, to: 0, waiting: 0 }
    }
}

impl ExactSum {
    /// Adds a finite number.
    pub(crate) fn add(&mut self, value: f64) {
        self.add_product(value, 1);
    }

    /// Takes a finite number away.
    pub(crate) fn subtract(&mut self, value: f64) {
        self.add_product(-value, 1);
    }

    /// Adds the exact product of a finite number and `factor`.
    pub(crate) fn add_product(&mut self, value: f64, factor: u64) {
        debug_assert!(value.is_finite());
        let bits = value.to_bits();
        let exponent = ((bits >> 52) & 0x7ff) as usize;
        let fraction = bits & ((1 << 52) - 1);
        // Subnormal numbers have the place of exponent 1 and no leading one.
        let (mantissa, place) =
            if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 52, exponent - 1) };
        let mut product = u128::from(mantissa) * u128::from(factor);
        if product == 0 {
            return;
        }
        let sign = if value < 0.0 { -1 } else { 1 };
        let (mut limb, shift) = (place / 32, place % 32);
        self.from = self.from.min(limb);
        while product != 0 {
            let digit = u64::from(product as u32) << shift;
            self.limbs[limb] += sign * (digit & 0xffff_ffff) as i64;
            self.limbs[limb + 1] += sign * (digit >> 32) as i64;
            limb += 1;
            product >>= 32;
        }
        self.to = self.to.max(limb + 1);
        self.waiting += 1;
        if self.waiting == CARRY_AFTER {
            self.carry();
        }
    }

    /// Moves what is more than a digit on to the next limb; the last limb keeps the sign.
    fn carry(&mut self) {
        self.waiting = 0;
        let mut carried = 0;
        for limb in &mut self.limbs[self.from.min(LIMBS - 1)..LIMBS - 1] {
            let all = *limb + carried;
            *limb = all & 0xffff_ffff;
            carried = all >> 32;
        }
        self.limbs[LIMBS - 1] += carried;
        self.to = LIMBS;
    }

    /// The nearest f64 to everything that was added.
    pub(crate) fn total(&self) -> f64 {
        if self.from >= self.to {
            return 0.0;
        }
        let mut digits = self.clone();
        digits.carry();
        let is_negative = digits.limbs[LIMBS - 1] < 0;
        if is_negative {
            for limb in &mut digits.limbs {
                *limb = -*limb;
            }
            digits.carry();
        }
        let Some(top) = digits.limbs.iter().rposition(|&limb| limb != 0) else { return 0.0 };
        // The three highest digits hold more bits than an f64; whether anything is below decides a tie.
        let least = top.saturating_sub(2);
        let mut highest = digits.limbs[least..=top]
            .iter()
            .rev()
            .fold(0_u128, |all, &digit| all << 32 | u128::from(digit.unsigned_abs()));
        if digits.limbs[..least].iter().any(|&limb| limb != 0) {
            highest |= 1;
        }
        let total = highest as f64 * power_of_two(LOWEST + 32 * least as i32);
        if is_negative { -total } else { total }
    }
}

/// 2^`exponent`, exactly; infinite when there is no such f64.
fn power_of_two(exponent: i32) -> f64 {
    match exponent {
        1_024.. => f64::INFINITY,
        -1_022.. => f64::from_bits(((exponent + 1_023) as u64) << 52),
        _ => f64::from_bits(1 << (exponent - LOWEST)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn total(values: &[f64]) -> f64 {
        let mut sum = ExactSum::default();
        values.iter().for_each(|&value| sum.add(value));
        sum.total()
    }

    #[test]
    fn a_sum_is_rounded_once() {
        let check = |values: &[f64], expect: f64| {
            assert_eq!(total(values).to_bits(), expect.to_bits(), "{values:?} {}", total(values));
        };
        check(&[], 0.0);
        check(&[0.1; 10], 1.0);
        check(&[1e308, 1e308, -1e308], 1e308);
        check(&[1e16, 1.0, 1.0], 1e16 + 2.0);
        check(&[1e300, 5e-324, -1e300], 5e-324);
        check(&[5e-324; 3], 1.5e-323);
        check(&[-5e-324], -5e-324);
        check(&[f64::MIN_POSITIVE, -5e-324], f64::MIN_POSITIVE - 5e-324);
        check(&[f64::MAX], f64::MAX);
        check(&[f64::MAX, f64::MAX], f64::INFINITY);
        // A tie goes to the even one, unless anything at all is beyond it.
        check(&[9_007_199_254_740_992.0, 1.0], 9_007_199_254_740_992.0);
        check(&[9_007_199_254_740_992.0, 1.0, 5e-324], 9_007_199_254_740_994.0);
        check(&[-9_007_199_254_740_992.0, -1.0, -5e-324], -9_007_199_254_740_994.0);
    }

    #[test]
    fn a_product_is_exact() {
        let mut sum = ExactSum::default();
        sum.add_product(0.1, 3_600_000_000);
        sum.add_product(f64::MAX, u64::MAX);
        sum.add_product(-f64::MAX, u64::MAX);
        // 0.1 is a little more than a tenth; so much that 3.6e9 of it are the same f64 as 3.6e8.
        assert_eq!(sum.total(), 360_000_000.0);
    }

    proptest! {
        #[test]
        fn no_order_changes_a_sum(mut values in prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL, 0..40)) {
            let one = total(&values);
            values.reverse();
            prop_assert_eq!(one.to_bits(), total(&values).to_bits());
            values.sort_by(f64::total_cmp);
            prop_assert_eq!(one.to_bits(), total(&values).to_bits());
        }

        #[test]
        fn whole_numbers_sum_like_integers(values in prop::collection::vec((any::<i32>(), 0..1_000_000_u64), 0..100)) {
            let mut sum = ExactSum::default();
            let mut expect = 0_i128;
            for (value, factor) in values {
                sum.add_product(f64::from(value), factor);
                expect += i128::from(value) * i128::from(factor);
            }
            prop_assert_eq!(sum.total(), expect as f64);
        }
    }
}
