//! Functions of SQL that know the calendar of a place: days of 23 and 25 hours, bins that begin at local midnight.
//!
//! | function | answers |
//! |---|---|
//! | `day(time [, zone])` | the local calendar day, a DATE |
//! | `hour(time [, zone])` | the local hour, 0 to 23 |
//! | `date_bin(stride, time, zone)` | the moment at which the local bin begins |
//! | `time_bucket(stride, time [, zone])` | the same; without a zone by the site's |
//!
//! `date_bin` without a zone, or with an origin, is the engine's own; so is `date_trunc`, which is helped to be quick (`trunc`).
//! Beside them the engine's functions whose answers grow are bounded (`bounded`). Not here: clocks; a zone is a name of the IANA
//! time zone database. The law: moments are compared as moments; local time is looked at only to find where a bin
//! begins.

mod bin;
mod bounded;
mod local;
mod part;
mod trunc;

use datafusion::error::Result;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::ScalarUDF;
use jiff::tz::TimeZone;

use super::explain::nearest;

/// Makes the functions known; `site` is the zone that is meant where none is named.
///
/// # Errors
/// The engine does not take one.
pub(crate) fn register(context: &SessionContext, site: &str) -> Result<()> {
    let engines_own = context.state().scalar_functions().get("date_bin").cloned();
    for part in [part::LocalPart::day(site), part::LocalPart::hour(site)] {
        context.register_udf(ScalarUDF::from(part));
    }
    context.register_udf(ScalarUDF::from(bin::LocalBin::time_bucket(site)));
    if let Some(engines_own) = engines_own {
        context.register_udf(ScalarUDF::from(bin::LocalBin::date_bin(site, engines_own)));
    }
    let engines_own = context.state().scalar_functions().get("date_trunc").cloned();
    if let Some(engines_own) = engines_own {
        context.register_udf(ScalarUDF::from(trunc::UtcTrunc::of(engines_own)));
    }
    bounded::register(context)
}

/// Finds a zone by its name.
///
/// # Errors
/// What is wrong, with the name that was probably meant.
pub(crate) fn zone(name: &str) -> std::result::Result<TimeZone, String> {
    let name = name.trim();
    if let Ok(zone) = TimeZone::get(name) {
        return Ok(zone);
    }
    let shown: String = name.chars().take(64).collect();
    let names: Vec<String> = jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    // `Berlin` alone is a city that one name ends with.
    let ending = names.iter().find(|known| {
        known.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(&shown.replace(' ', "_")))
    });
    match ending.copied().or_else(|| nearest(&shown, &names)) {
        Some(near) => Err(format!("`{shown}` is no time zone; did you mean `{near}`?")),
        None => Err(format!("`{shown}` is no time zone; write a name such as `Europe/Berlin` or `UTC`")),
    }
}
