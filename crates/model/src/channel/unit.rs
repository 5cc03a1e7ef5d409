//! Units as they are written: what people and devices say, and what UCUM calls it.
//!
//! Not here: which unit a channel has. The law: what [`ucum`] gives is short, printable and without spaces, whatever was said.

/// Longest unit in bytes: UCUM's longest are far shorter.
pub(super) const UNIT_BYTES_MAX: usize = 64;

/// What is often written, and what UCUM calls it.
const OFTEN: [(&str, &str); 22] = [
    ("C", "Cel"),
    ("°C", "Cel"),
    ("degC", "Cel"),
    ("celsius", "Cel"),
    ("F", "[degF]"),
    ("°F", "[degF]"),
    ("degF", "[degF]"),
    ("ppm", "[ppm]"),
    ("ppb", "[ppb]"),
    ("kWh", "kW.h"),
    ("Wh", "W.h"),
    ("VA", "V.A"),
    ("lux", "lx"),
    ("dBm", "dB[mW]"),
    ("m³", "m3"),
    ("m³/h", "m3/h"),
    ("µg/m³", "ug/m3"),
    ("°", "deg"),
    ("%RH", "%"),
    ("psi", "[psi]"),
    ("rpm", "/min"),
    ("Ah", "A.h"),
];

/// The name in UCUM of what is written otherwise.
pub(super) fn meant(said: &str) -> Option<&'static str> {
    // `f` is femto, not a temperature.
    let often = OFTEN.iter().find(|(often, _)| often.eq_ignore_ascii_case(said) && said != "f");
    often.map(|(_, ucum)| *ucum).filter(|ucum| *ucum != said)
}

/// The first character that no unit of UCUM has.
pub(super) fn wrong_character(unit: &str) -> Option<char> {
    unit.chars().find(|c| !c.is_ascii_graphic())
}

/// What a device says of its unit, in UCUM; `None` when it can be no unit.
pub(crate) fn ucum(said: &str) -> Option<&str> {
    let said = said.trim();
    let unit = meant(said).unwrap_or(said);
    let is_one = !unit.is_empty() && unit.len() <= UNIT_BYTES_MAX && wrong_character(unit).is_none();
    is_one.then_some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_devices_write_is_told_in_ucum_or_not_at_all() {
        let check = |said: &str, expect: Option<&str>| assert_eq!(ucum(said), expect, "{said:?}");
        check("Cel", Some("Cel"));
        check(" °C ", Some("Cel"));
        check("kWh", Some("kW.h"));
        check("%RH", Some("%"));
        check("min", Some("min"));
        check("f", Some("f"));
        check("bar", Some("bar"));
        check("", None);
        check("parts per million", None);
        check("Ω", None);
        check(&"x".repeat(UNIT_BYTES_MAX + 1), None);
    }
}
