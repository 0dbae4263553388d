//! The functions of dates and times: arguments and types.
//!
//! The zone is settled here: the last argument's, or else that of the time's type, or else UTC; it becomes a part of the function, so that the
//! executor looks up nothing. `now()` and `today()` are constants, so that all rows of a query see one time.

use chrono_tz::Tz;

use super::calls::Call;
use crate::Result;
use crate::query::plan::{Expr, ExprKind, Function, Part, StartOf};
use crate::query::position::error_at;
use crate::query::vector::Scalar;
use crate::query::{Type, Unit, Zone, exec, time};

const DAY: i64 = 24 * 60 * 60;

/// A function of times by its name; `None` where it is none.
pub(super) fn scalar(call: Call, now: i64) -> Result<Option<Expr>> {
    let constant =
        |value: i64, ty: Type| Expr { kind: ExprKind::Const(Scalar::Int(value)), ty, position: call.position };
    let name = call.name.to_ascii_lowercase();
    let found = match name.as_str() {
        "now" => {
            call.count(0..=0)?;
            return Ok(Some(constant(now, Type::DateTime(None))));
        }
        "today" => {
            call.count(0..=0)?;
            return Ok(Some(constant(now.div_euclid(DAY), Type::Date)));
        }
        "todatetime" => to_date_time(call),
        "tounixtimestamp" => {
            call.count(1..=1)?;
            call.check(0, "a time", |ty| ty.is_time() || *ty == Type::String)?;
            call.make(Function::ToUnixTimestamp, Type::UInt32)
        }
        "formatdatetime" => format(call),
        "tostartofinterval" => start_of_interval(call),
        _ => match (part(&name), start(&name)) {
            (Some((part, ty)), _) => part_of(call, part, ty),
            (_, Some(interval)) => start_of(call, interval),
            _ => return Ok(None),
        },
    };
    found.map(Some)
}

fn part(name: &str) -> Option<(Part, Type)> {
    Some(match name {
        "toyear" => (Part::Year, Type::UInt16),
        "tomonth" => (Part::Month, Type::UInt8),
        "todayofmonth" => (Part::DayOfMonth, Type::UInt8),
        "todayofweek" => (Part::DayOfWeek, Type::UInt8),
        "tohour" => (Part::Hour, Type::UInt8),
        "tominute" => (Part::Minute, Type::UInt8),
        "tosecond" => (Part::Second, Type::UInt8),
        "toyyyymm" => (Part::YearMonth, Type::UInt32),
        _ => return None,
    })
}

fn start(name: &str) -> Option<StartOf> {
    Some(match name {
        "tostartofyear" => StartOf::Units(1, Unit::Year),
        "tostartofmonth" => StartOf::Units(1, Unit::Month),
        "tostartofweek" => StartOf::Week,
        "tostartofday" => StartOf::Units(1, Unit::Day),
        "tostartofhour" => StartOf::Units(1, Unit::Hour),
        "tostartoffifteenminutes" => StartOf::Units(15, Unit::Minute),
        "tostartoftenminutes" => StartOf::Units(10, Unit::Minute),
        "tostartoffiveminutes" => StartOf::Units(5, Unit::Minute),
        "tostartofminute" => StartOf::Units(1, Unit::Minute),
        _ => return None,
    })
}

/// Takes the argument with a time zone off the call; `None` where it is not there.
fn zone(call: &mut Call, number: usize) -> Result<Option<Zone>> {
    call.check(number, "the name of a time zone", |ty| *ty == Type::String)?;
    call.check_constant(number)?;
    if call.arguments.len() <= number {
        return Ok(None);
    }
    let argument = call.arguments.remove(number);
    let Some(Scalar::Text(name)) = argument.constant() else { return Ok(None) };
    let name = String::from_utf8_lossy(name);
    match Zone::from_name(&name) {
        Some(zone) => Ok(Some(zone)),
        None => Err(error_at(argument.position, format!("unknown time zone {name}; SHOW TIMEZONES lists them"))),
    }
}

/// The zone of the argument, or else that of the time.
fn zone_of(zone: Option<Zone>, ty: &Type) -> Tz {
    zone.map_or_else(|| ty.zone(), Zone::tz)
}

fn to_date_time(mut call: Call) -> Result<Expr> {
    call.count(1..=2)?;
    call.check(0, "a number, a text, a date or a time", |ty| ty.is_number() || ty.is_time() || *ty == Type::String)?;
    let zone = zone(&mut call, 1)?;
    let from = &call.arguments[0].ty;
    let ty = match from {
        Type::DateTime(own) => Type::DateTime(zone.or(*own)),
        _ => Type::DateTime(zone),
    };
    let zone = zone_of(zone, from);
    call.make(Function::ToDateTime(zone), ty)
}

fn format(mut call: Call) -> Result<Expr> {
    call.count(2..=3)?;
    call.check(0, "a time", Type::is_time)?;
    call.check(1, "a format", |ty| *ty == Type::String)?;
    call.check_constant(1)?;
    let zone = zone(&mut call, 2)?;
    if let Some(Scalar::Text(format)) = call.arguments[1].constant() {
        // An invalid format is an error even where there are no rows.
        let valid = time::format(time::local(0, Tz::UTC), 0, &String::from_utf8_lossy(format));
        valid.map_err(|message| error_at(call.arguments[1].position, message))?;
    }
    let zone = zone_of(zone, &call.arguments[0].ty);
    call.make(Function::FormatDateTime(zone), Type::String)
}

/// A part of the clock takes a `DateTime` alone: a `Date` has no hours.
fn part_of(mut call: Call, part: Part, ty: Type) -> Result<Expr> {
    call.count(1..=2)?;
    let is_clock = matches!(part, Part::Hour | Part::Minute | Part::Second);
    let kind = if is_clock { "a time with hours" } else { "a time" };
    call.check(0, kind, |ty| ty.is_time() && !(is_clock && *ty == Type::Date))?;
    let zone = zone(&mut call, 1)?;
    let zone = zone_of(zone, &call.arguments[0].ty);
    call.make(Function::Part(part, zone), ty)
}

fn start_of(mut call: Call, interval: StartOf) -> Result<Expr> {
    call.count(1..=2)?;
    let zone = zone(&mut call, 1)?;
    make_start(call, interval, zone)
}

fn start_of_interval(mut call: Call) -> Result<Expr> {
    call.count(2..=3)?;
    call.check(1, "an interval such as INTERVAL '15' MINUTE", |ty| matches!(ty, Type::Interval(_)))?;
    call.check_constant(1)?;
    let zone = zone(&mut call, 2)?;
    let interval = call.arguments.remove(1);
    match (interval.constant(), &interval.ty) {
        (Some(Scalar::Int(count)), Type::Interval(unit)) if *count > 0 => {
            let interval = StartOf::Units(*count, *unit);
            make_start(call, interval, zone)
        }
        _ => Err(error_at(interval.position, "the interval of toStartOfInterval must be greater than 0")),
    }
}

/// Months, weeks and years give a `Date`, all others a `DateTime` in the zone.
fn make_start(call: Call, interval: StartOf, zone: Option<Zone>) -> Result<Expr> {
    let is_clock = matches!(interval, StartOf::Units(_, Unit::Second | Unit::Minute | Unit::Hour));
    let kind = if is_clock { "a time with hours" } else { "a time" };
    call.check(0, kind, |ty| ty.is_time() && !(is_clock && *ty == Type::Date))?;
    let from = &call.arguments[0].ty;
    let ty = match from {
        _ if exec::is_date_start(interval) => Type::Date,
        Type::DateTime(own) => Type::DateTime(zone.or(*own)),
        _ => Type::DateTime(zone),
    };
    let zone = zone_of(zone, from);
    call.make(Function::StartOf(time::counted_in(interval, zone), zone), ty)
}
